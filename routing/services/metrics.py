"""What /metrics tells of deliveries (settings.METRIC_SOURCES)."""

from collections.abc import Iterator

from orchestrator.services.metrics import Measure, waiting
from orchestrator.states import DeliveryStatus
from routing.models import Delivery

_UNFINISHED = (
    DeliveryStatus.QUEUED, DeliveryStatus.SENDING, DeliveryStatus.RETRYING, DeliveryStatus.UNKNOWN,
    DeliveryStatus.PARTIAL, DeliveryStatus.PAUSED, DeliveryStatus.FAILED,
)  # fmt: skip


def deliveries() -> Iterator[Measure]:
    """Deliveries that are not finished, and those that failed and wait for a person."""
    yield from waiting("deliveries", Delivery.objects.all(), _UNFINISHED, "created_at")
