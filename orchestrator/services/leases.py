"""Taking, renewing and settling work: the row is the truth, with a lease on the database's clock (promise 4)."""

import random
from datetime import timedelta
from typing import Any, TypeVar

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from orchestrator.models import Work
from orchestrator.services.workflow import LeaseLost

W = TypeVar("W", bound=Work)


def due(queryset: QuerySet[W]) -> QuerySet[W]:
    """Those whose time has come and that no living worker has."""
    return queryset.filter(Q(lease_until__isnull=True) | Q(lease_until__lt=Now()), next_attempt_at__lte=Now())


def take(queryset: QuerySet[W], pk: int, *, seconds: float) -> W | None:
    """Take one due row of `queryset` for `seconds`; None when it is not due or another worker was faster.

    One conditional update, right on SQLite and PostgreSQL alike; the fence counts up with each taking.
    """
    taken = due(queryset.filter(pk=pk)).update(
        lease_until=Now() + timedelta(seconds=seconds), fence=F("fence") + 1, attempts=F("attempts") + 1
    )
    return queryset.model._default_manager.get(pk=pk) if taken else None


def renew(work: Work, *, seconds: float) -> None:
    """Heartbeat of a long piece of work. Raises LeaseLost when it was taken over meanwhile."""
    kept = (
        type(work)
        ._default_manager.filter(pk=work.pk, fence=work.fence)
        .update(lease_until=Now() + timedelta(seconds=seconds))
    )
    if not kept:
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
