"""What pages and the API read of routing."""

from django.db.models import Count, Q, QuerySet

from orchestrator.permissions import Viewer, visible_to
from orchestrator.states import DeliveryStatus
from routing.models import Delivery, Destination, RuleSet


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
    """With `total`, `sent` and `failed`: how many instances a delivery has, and what became of them."""
    return queryset.annotate(
        total=Count("instances"),
        sent=Count("instances", filter=Q(instances__status=DeliveryStatus.SENT)),
        failed=Count("instances", filter=Q(instances__status=DeliveryStatus.FAILED)),
    )
