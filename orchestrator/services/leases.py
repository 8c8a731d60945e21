"""Taking, renewing and settling work: the row is the truth, with a lease on the database's clock (promise 4)."""

import logging
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db import Error, connection
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from orchestrator.models import Work
from orchestrator.services.workflow import LeaseLost

logger = logging.getLogger(__name__)

# So many heartbeats for each lease: one may come late.
_BEATS = 3
# Who takes longer without a word hangs: another may try it.
_LONGEST = 900.0

W = TypeVar("W", bound=Work)


def due(queryset: QuerySet[W]) -> QuerySet[W]:
    """Those whose time has come and that no living worker has."""
    return queryset.filter(Q(lease_until__isnull=True) | Q(lease_until__lt=Now()), next_attempt_at__lte=Now())


def take(queryset: QuerySet[W], pk: int) -> W | None:
    """Take one due row of `queryset` for settings.LEASE_SECONDS; None when it is not due or another worker was faster.

    One conditional update, right on SQLite and PostgreSQL alike; the fence counts up with each taking.
    """
    taken = due(queryset.filter(pk=pk)).update(
        lease_until=Now() + timedelta(seconds=settings.LEASE_SECONDS), fence=F("fence") + 1, attempts=F("attempts") + 1
    )
    return queryset.model._default_manager.get(pk=pk) if taken else None


@contextmanager
def held(work: Work, *, longest: float = _LONGEST) -> Iterator[None]:
    """Keep the lease of what was taken while the block runs, `longest` seconds at most: a thread renews it.

    So a lease can be short, and what a killed worker had is soon another's, however long the work takes. Whether the
    lease was lost all the same the block is told by `renew` and `settle`, never by this. Not within a transaction that
    has the row.
    """
    over, until = threading.Event(), time.monotonic() + longest

    def beat() -> None:
        try:
            while not over.wait(settings.LEASE_SECONDS / _BEATS) and time.monotonic() < until:
                try:
                    renew(work)
                except LeaseLost:
                    return
                except Error as error:
                    # The database is away or busy; the next beat may come through.
                    logger.warning("The lease of %s was not renewed (%s)", work, type(error).__name__)
                    connection.close()
        finally:
            connection.close()

    heart = threading.Thread(target=beat, name="heartbeat", daemon=True)
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join()


def renew(work: Work) -> None:
    """Heartbeat of a long piece of work. Raises LeaseLost when it was taken over meanwhile, or is over."""
    running = type(work)._default_manager.filter(pk=work.pk, fence=work.fence, lease_until__isnull=False)
    if not running.update(lease_until=Now() + timedelta(seconds=settings.LEASE_SECONDS)):
        raise LeaseLost(f"{work} was taken by another worker.")


def settle(work: Work, **columns: Any) -> None:
    """Write the outcome and give the lease back. Raises LeaseLost when it was taken over meanwhile."""
    columns.setdefault("next_attempt_at", None)
    kept = type(work)._default_manager.filter(pk=work.pk, fence=work.fence).update(lease_until=None, **columns)
    if not kept:
        raise LeaseLost(f"{work} was taken by another worker.")
    for name, value in columns.items():
        setattr(work, name, value)


def backoff(attempts: int, *, base: float = 2.0, cap: float = 900.0) -> timedelta:
    """How long to wait after the nth failure: exponential, with full jitter above the half."""
    ceiling = min(cap, base * 2 ** max(0, attempts - 1))
    return timedelta(seconds=ceiling * random.uniform(0.5, 1.0))  # noqa: S311  jitter, not a secret


def postpone(work: Work, *, error: str, base: float = 2.0, cap: float = 900.0, **columns: Any) -> None:
    """Give the work back, to be tried again later."""
    settle(work, next_attempt_at=Now() + backoff(work.attempts, base=base, cap=cap), last_error=error, **columns)
