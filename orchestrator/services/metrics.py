"""What /metrics tells: how much waits and since when, from our own rows. Numbers only, no names.

Other apps add their own, functions() -> iterable of Measure, to settings.METRIC_SOURCES.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Count, Min, QuerySet
from django.utils import timezone
from django.utils.module_loading import import_string

from orchestrator import storage
from orchestrator.models import ExceptionCase, InboundMessage, Job, Study, Subscription
from orchestrator.states import CASE_OPEN, Identity, InboundStatus, JobStatus, SubscriptionStatus


class Measure(NamedTuple):
    """One number: the metric's name and meaning, what it is of, and its value."""

    name: str
    meaning: str
    labels: Mapping[str, str]
    value: float


def measures() -> Iterator[Measure]:
    """All numbers of all registered sources."""
    for name in settings.METRIC_SOURCES:
        yield from import_string(name)()


def waiting(queue: str, rows: QuerySet[Any], statuses: Iterable[str], since: str) -> Iterator[Measure]:
    """How many rows wait in each of these states (none is told as 0), and the age of the oldest one."""
    now = timezone.now()
    found = {
        status: (number, oldest)
        for status, number, oldest in rows.filter(status__in=list(statuses))
        .values_list("status")
        .annotate(number=Count("*"), oldest=Min(since))
        .order_by()
    }
    for status in sorted(statuses):
        number, oldest = found.get(status, (0, None))
        labels = {"queue": queue, "status": status}
        age = (now - oldest).total_seconds() if oldest else 0.0
        yield Measure("fiducial_waiting", "Rows of a queue in a state that is not final.", labels, number)
        yield Measure("fiducial_waiting_oldest_seconds", "Age of the oldest of them.", labels, max(0.0, age))


def ground() -> Iterator[Measure]:
    """Messages, cases, subscriptions, jobs, studies and the spool."""
    unsettled = (InboundStatus.RECEIVED, InboundStatus.WAITING, InboundStatus.QUARANTINED)
    yield from waiting("messages", InboundMessage.objects.all(), unsettled, "received_at")
    yield from waiting("cases", ExceptionCase.objects.all(), CASE_OPEN, "opened_at")
    yield from waiting("subscriptions", Subscription.objects.all(), (SubscriptionStatus.PENDING,), "created_at")
    yield from waiting("jobs", Job.objects.all(), (JobStatus.QUEUED, JobStatus.RUNNING), "created_at")
    # The last day only: over all years, matched studies would be counted for seconds at every scrape.
    recent = Study.objects.filter(last_received_at__gte=timezone.now() - timedelta(days=1))
    numbers = dict(recent.values_list("identity").annotate(number=Count("*")).order_by())
    for identity in Identity.values:
        yield Measure(
            "fiducial_studies_day", "Studies received in the last 24 hours, by identity.", {"identity": identity},
            numbers.get(identity, 0),
        )  # fmt: skip
    held = Study.objects.filter(identity__in=[Identity.PENDING, Identity.HELD])
    numbers = dict(held.values_list("identity").annotate(number=Count("*")).order_by())
    for identity in (Identity.PENDING, Identity.HELD):
        yield Measure(
            "fiducial_studies_unsettled", "Studies of any age whose identity is not settled.",
            {"identity": identity.value}, numbers.get(identity, 0),
        )  # fmt: skip
    yield Measure("fiducial_spool_free_bytes", "Free space on the spool's file system.", {}, storage.free_bytes())
