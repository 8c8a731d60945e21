"""What pages and the API read of routing."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from django.db.models import Case, Count, Exists, IntegerField, OuterRef, QuerySet, Subquery, When
from django.db.models.functions import Coalesce

from orchestrator.models import ExceptionCase, Hop, Study, WorkflowEvent
from orchestrator.models.search import as_found
from orchestrator.permissions import Viewer, visible_to
from orchestrator.selectors import studies
from orchestrator.states import CASE_OPEN, DELIVERY_REACHED, DELIVERY_WAITING, DeliveryStatus
from routing.models import DeliveredInstance, Delivery, Destination, RuleSet

# UNKNOWN: without an answer it may have arrived or not.
PERHAPS_THERE = (*DELIVERY_REACHED, DeliveryStatus.UNKNOWN)


def rule_sets() -> QuerySet[RuleSet]:
    """All rule sets; they hold no PHI and belong to no site."""
    return RuleSet.objects.select_related("published__published_by").order_by("name")


def destinations() -> QuerySet[Destination]:
    """All destinations; they hold no PHI and belong to no site."""
    return Destination.objects.select_related("device", "line").order_by("name")


def deliveries(viewer: Viewer, text: str = "") -> QuerySet[Delivery]:
    """The deliveries that the viewer may see, newest first, each with its number of instances.

    With a text those of the studies that it finds (`orchestrator.selectors.studies`).
    """
    return with_counts(uncounted(viewer, text))


def uncounted(viewer: Viewer, text: str = "") -> QuerySet[Delivery]:
    """The same without the numbers, which cost as much to ask for as the rest of a page."""
    queryset = visible_to(Delivery.objects.all(), viewer, "deliveries.view")
    if text:
        found = studies(viewer, text)
        queryset = as_found(queryset.filter(study__in=found.values("pk")), found)
    return queryset.select_related("study__patient", "destination", "version").order_by("-pk")


def with_counts(queryset: QuerySet[Delivery]) -> QuerySet[Delivery]:
    """With `total`, `sent` and `failed`: how many instances a delivery has, and what became of them.

    By subqueries, which are run for the rows of a page; a join would group all deliveries first.
    """
    mine = DeliveredInstance.objects.filter(delivery=OuterRef("pk")).order_by().values("delivery")
    numbers = {
        "total": mine,
        "sent": mine.filter(status=DeliveryStatus.SENT),
        "failed": mine.filter(status=DeliveryStatus.FAILED),
    }
    return queryset.annotate(
        **{
            name: Coalesce(Subquery(rows.annotate(number=Count("*")).values("number")), 0)
            for name, rows in numbers.items()
        }
    )


class AtWork(NamedTuple):
    """A destination with how many of its deliveries are still to be sent and were given up, and its last success."""

    destination: Destination
    waiting: int
    failed: int
    last_sent_at: dt.datetime | None


def destinations_at_work(viewer: Viewer, pk: int | None = None) -> list[AtWork]:
    """All destinations, or one, with what the viewer may see of their deliveries. Two queries."""
    mine = visible_to(Delivery.objects.all(), viewer, "deliveries.view")
    undone = mine.filter(status__in=[DeliveryStatus.FAILED, *DELIVERY_WAITING])
    sent = mine.filter(destination=OuterRef("pk"), status__in=DELIVERY_REACHED, finished_at__isnull=False)
    found = destinations().annotate(last_sent_at=Subquery(sent.order_by("-finished_at").values("finished_at")[:1]))
    if pk is not None:
        undone, found = undone.filter(destination=pk), found.filter(pk=pk)
    waiting: Counter[int] = Counter()
    failed: Counter[int] = Counter()
    for key, status, number in undone.values_list("destination", "status").annotate(number=Count("*")).order_by():
        (failed if status == DeliveryStatus.FAILED else waiting)[key] += number
    return [AtWork(each, waiting[each.pk], failed[each.pk], each.last_sent_at) for each in found]


def instances_of(delivery: Delivery) -> QuerySet[DeliveredInstance]:
    """A delivery's instances with what became of each; those that are not there yet first."""
    there = Case(When(status__in=DELIVERY_REACHED, then=1), default=0, output_field=IntegerField())
    return delivery.instances.select_related("instance__series").order_by(there, "pk")


def other_copies() -> QuerySet[DeliveredInstance]:
    """For a subquery over DeliveredInstance: the same object, perhaps at the same destination in another rendition."""
    return DeliveredInstance.objects.filter(
        instance=OuterRef("instance"),
        delivery__destination=OuterRef("delivery__destination"),
        status__in=PERHAPS_THERE,
    ).exclude(delivery=OuterRef("delivery"))


def doubtful(deliveries: Iterable[Delivery]) -> frozenset[int]:
    """Those whose destination took objects of which it perhaps has another copy, with other values, and shows that."""
    taken = DeliveredInstance.objects.filter(delivery__in=[each.pk for each in deliveries], status=DeliveryStatus.SENT)
    return frozenset(taken.filter(Exists(other_copies())).values_list("delivery", flat=True).distinct())


def proofs(study: Study, destination: Destination | None = None) -> QuerySet[Hop]:
    """Which devices hold which rendition of a study because we sent it there."""
    hops = study.hops.select_related("device").order_by("at")
    return hops.filter(device=destination.device_id) if destination else hops


def events_of(delivery: Delivery) -> QuerySet[WorkflowEvent]:
    """What happened to a delivery, the first first."""
    return WorkflowEvent.objects.filter(subject_type="delivery", subject_id=delivery.pk).order_by("at", "pk")


def open_cases_about(viewer: Viewer, delivery: Delivery) -> QuerySet[ExceptionCase]:
    """The cases about a delivery that wait for a person."""
    about = ExceptionCase.objects.filter(subject_type="delivery", subject_id=delivery.pk, status__in=CASE_OPEN)
    return visible_to(about, viewer, "exceptions.view").order_by("due_at")


def echoes(destination: Destination) -> QuerySet[WorkflowEvent]:
    """What came of its C-ECHOs, the last first."""
    about = WorkflowEvent.objects.filter(subject_type="destination", subject_id=destination.pk)
    return about.filter(name="destination.echoed").order_by("-at", "-pk")


def reasons_of_failure(viewer: Viewer, destination: Destination, most: int) -> list[tuple[str, int]]:
    """Why deliveries to it failed, and how many for each reason, the most frequent first."""
    failed = visible_to(Delivery.objects.all(), viewer, "deliveries.view").filter(
        destination=destination, status=DeliveryStatus.FAILED
    )
    groups = failed.values_list("last_error").annotate(number=Count("*")).order_by("-number", "last_error")
    return [(reason, number) for reason, number in groups[:most]]
