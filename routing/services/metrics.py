"""What /metrics tells of deliveries (settings.METRIC_SOURCES)."""

from collections.abc import Iterator

from orchestrator.services.metrics import Measure, waiting
from orchestrator.states import DELIVERY_WAITING, DeliveryStatus
from routing.models import Delivery


def deliveries() -> Iterator[Measure]:
    """Deliveries that are not finished, and those that failed and wait for a person."""
    yield from waiting("deliveries", Delivery.objects.all(), DELIVERY_WAITING | {DeliveryStatus.FAILED}, "created_at")
