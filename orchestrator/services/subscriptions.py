"""Delivering events to their subscribers, at least once."""

import logging
import time
from collections.abc import Callable, Sequence

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q, QuerySet
from django.utils.module_loading import import_string

from orchestrator.models import Site, Subscription
from orchestrator.services import leases
from orchestrator.services.exceptions import open_case, resolve_about
from orchestrator.services.workflow import ring
from orchestrator.states import SubscriptionStatus

logger = logging.getLogger(__name__)

# After that many failures a person is asked; the subscription goes on being tried, ever more slowly.
ATTEMPTS_UNTIL_CASE = 5
_TOGETHER = 50
_TURN = 2.0
"""Seconds that a sweep stays with what is gathered."""


def run_subscription(subscription_id: int) -> None:
    """Call the subscriber as subscriber(subject_id). A failure is kept, tried again, and in the end shown."""
    pending = Subscription.objects.filter(status=SubscriptionStatus.PENDING)
    subscription = leases.take(pending, subscription_id)
    if subscription is None:
        return
    if subscription.attempts > ATTEMPTS_UNTIL_CASE:
        # Whoever dies with its worker never gets as far as to fail: it is shown before it is tried.
        _show(subscription)
    try:
        with leases.held(subscription):
            import_string(subscription.subscriber)(subscription.subject_id)
    except Exception as error:
        logger.exception("%s failed (attempt %d)", subscription, subscription.attempts)
        _failed(subscription, f"{type(error).__name__}: {error}")
        return
    with transaction.atomic():
        leases.settle(subscription, status=SubscriptionStatus.DONE, last_error="")
        if subscription.attempts > ATTEMPTS_UNTIL_CASE:
            resolve_about("automation_failed", about=subscription, resolution="succeeded later")


@transaction.atomic
def _failed(subscription: Subscription, error: str) -> None:
    leases.postpone(subscription, error=error, base=1.0, cap=600.0)
    if subscription.attempts >= ATTEMPTS_UNTIL_CASE:
        _show(subscription)


def _show(subscription: Subscription) -> None:
    open_case(
        "automation_failed",
        about=subscription,
        reason_code=subscription.event_name,
        summary=(
            f"{subscription.event_name} could not be processed and is tried again: "
            f"see the log for event {subscription.event_id}."
        ),
        site=Site.objects.earliest("pk"),
        source=subscription.subscriber[:100],
    )


def ring_due() -> None:
    """Sweep: subscriptions whose bell was lost, whose worker died, or whose time has come again."""
    for subscription in _due().exclude(_gathered())[:500]:
        ring("orchestrator.tasks.run_subscription", subscription.pk, queue=subscription.queue)


def run_gathered() -> None:
    """Sweep: what is done for many subjects at once; what is left after a while is the next sweep's."""
    until = time.monotonic() + _TURN
    for subscriber, name in settings.GATHERED_SUBSCRIBERS.items():
        waiting, call = _due().filter(_gathered(), subscriber=subscriber), import_string(name)
        while time.monotonic() < until and _gather(waiting, call):
            pass


def _due() -> QuerySet[Subscription]:
    return leases.due(Subscription.objects.filter(status=SubscriptionStatus.PENDING))


def _gathered() -> Q:
    """What failed once goes on by itself, as all others."""
    return Q(subscriber__in=settings.GATHERED_SUBSCRIBERS, attempts=0)


def _gather(waiting: QuerySet[Subscription], call: Callable[[Sequence[int]], None]) -> int:
    """Call for the subjects of some that wait, and settle these, in one transaction; answers how many they were.

    Where it fails each is called by itself: so the others get through, and the failure is kept and shown as any other.
    """
    found: dict[int, int] = {}
    try:
        with transaction.atomic():
            mine = waiting.order_by("next_attempt_at").select_for_update(skip_locked=True)
            found.update(mine.values_list("pk", "subject_id")[:_TOGETHER])
            if not found:
                return 0
            call(sorted(set(found.values())))
            Subscription.objects.filter(pk__in=found).update(
                status=SubscriptionStatus.DONE, next_attempt_at=None, last_error=""
            )
    except (OperationalError, InterfaceError):
        raise  # the database is away or busy: the next sweep
    except Exception:
        logger.exception("%d subscriptions failed together", len(found))
        for key in found:
            run_subscription(key)
    return len(found)
