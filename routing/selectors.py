"""What pages and the API read of routing."""

from collections.abc import Mapping
from typing import NamedTuple

from django.db.models import Case, Count, IntegerField, OuterRef, QuerySet, Subquery, When
from django.db.models.functions import Coalesce

from orchestrator.models import Hop, Study, WorkflowEvent
from orchestrator.permissions import Viewer, visible_to
from orchestrator.states import DELIVERY_REACHED, DeliveryStatus
from routing.models import DeliveredInstance, Delivery, Destination, RuleSet

# Still to be sent, now or later.
DELIVERY_WAITING = (
    DeliveryStatus.QUEUED, DeliveryStatus.SENDING, DeliveryStatus.PARTIAL, DeliveryStatus.RETRYING,
    DeliveryStatus.UNKNOWN, DeliveryStatus.PAUSED,
)  # fmt: skip


def rule_sets() -> QuerySet[RuleSet]:
    """All rule sets; they hold no PHI and belong to no site."""
    return RuleSet.objects.select_related("published__published_by").order_by("name")


def destinations() -> QuerySet[Destination]:
    """All destinations; they hold no PHI and belong to no site."""
    return Destination.objects.select_related("device").order_by("name")


def deliveries(viewer: Viewer) -> QuerySet[Delivery]:
    """The deliveries of studies that the viewer may see, newest first, each with its number of instances."""
    queryset = visible_to(Delivery.objects.all(), viewer, "deliveries.view")
    return with_counts(queryset.select_related("study__patient", "destination", "version")).order_by("-pk")


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
            name: Coalesce(Subquery(rows.annotate(number=Count("pk")).values("number")), 0)
            for name, rows in numbers.items()
        }
    )


def destinations_at_work(viewer: Viewer) -> QuerySet[Destination]:
    """The destinations, each with `last_sent_at`: when a delivery that the viewer may see last got there."""
    sent = visible_to(Delivery.objects.all(), viewer, "deliveries.view").filter(
        destination=OuterRef("pk"), status__in=DELIVERY_REACHED, finished_at__isnull=False
    )
    return destinations().annotate(last_sent_at=Subquery(sent.order_by("-finished_at").values("finished_at")[:1]))


class Load(NamedTuple):
    """How many deliveries of a destination are not done: still to be sent, and given up."""

    waiting: int = 0
    failed: int = 0


def load_of_destinations(viewer: Viewer) -> Mapping[int, Load]:
    """The load by destination id, of the deliveries that the viewer may see: one grouped query."""
    undone = visible_to(Delivery.objects.all(), viewer, "deliveries.view").filter(
        status__in=[DeliveryStatus.FAILED, *DELIVERY_WAITING]
    )
    loads: dict[int, Load] = {}
    for key, status, number in undone.values_list("destination", "status").annotate(Count("pk")).order_by():
        load = loads.get(key, Load())
        failed = status == DeliveryStatus.FAILED
        loads[key] = Load(load.waiting + (0 if failed else number), load.failed + (number if failed else 0))
    return loads


def instances_of(delivery: Delivery) -> QuerySet[DeliveredInstance]:
    """A delivery's instances with what became of each; those that are not there yet first."""
    there = Case(When(status__in=DELIVERY_REACHED, then=1), default=0, output_field=IntegerField())
    return delivery.instances.select_related("instance__series").order_by(there, "pk")


def proofs(study: Study, destination: Destination | None = None) -> QuerySet[Hop]:
    """Which devices hold which rendition of a study because we sent it there."""
    hops = study.hops.select_related("device").order_by("at")
    return hops.filter(device=destination.device_id) if destination else hops


def echoes(destination: Destination) -> QuerySet[WorkflowEvent]:
    """What came of its C-ECHOs, the last first."""
    about = WorkflowEvent.objects.filter(subject_type="destination", subject_id=destination.pk)
    return about.filter(name="destination.echoed").order_by("-at", "-pk")
