"""Delivering events to their subscribers, at least once."""

import logging

from django.db import transaction
from django.utils.module_loading import import_string

from orchestrator.models import Site, Subscription
from orchestrator.services import leases
from orchestrator.services.exceptions import open_case, resolve_about
from orchestrator.services.workflow import ring
from orchestrator.states import SubscriptionStatus

logger = logging.getLogger(__name__)

LEASE_SECONDS = 120.0
# After that many failures a person is asked; the subscription goes on being tried, ever more slowly.
ATTEMPTS_UNTIL_CASE = 5


def run_subscription(subscription_id: int) -> None:
    """Call the subscriber as subscriber(subject_id). A failure is kept, tried again, and in the end shown."""
    pending = Subscription.objects.filter(status=SubscriptionStatus.PENDING)
    subscription = leases.take(pending, subscription_id, seconds=LEASE_SECONDS)
    if subscription is None:
        return
    if subscription.attempts > ATTEMPTS_UNTIL_CASE:
        # Whoever dies with its worker never gets as far as to fail: it is shown before it is tried.
        _show(subscription)
    try:
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
    for subscription in leases.due(Subscription.objects.filter(status=SubscriptionStatus.PENDING))[:500]:
        ring("orchestrator.tasks.run_subscription", subscription.pk, queue=subscription.queue)
