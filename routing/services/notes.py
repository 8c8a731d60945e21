"""What became of each instance, written while a delivery is being sent."""

import time
from itertools import groupby

from django.db import transaction
from django.utils import timezone

from orchestrator.services import leases
from orchestrator.services.studies import record_hop
from orchestrator.states import DeliveryStatus
from routing.models import Delivery
from routing.transports.base import Result

# One commit for each object would halve the speed. What a killed worker had not written yet is sent once more.
_SECONDS = 0.5


class Notes:
    """The results of a running attempt, written twice a second and the fence looked at with them.

    `sent`: how many instances the peer has taken in this attempt. Raises LeaseLost when another worker has the
    delivery now, or it was canceled; what was heard until then is written all the same.
    """

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._waiting: list[Result] = []
        self._written_at = 0.0
        self.sent = 0

    def add(self, result: Result) -> None:
        self._waiting.append(result)
        if time.monotonic() - self._written_at > _SECONDS:
            self.write()

    def write(self) -> None:
        """Write what waits. Raises LeaseLost when the delivery is no longer ours."""
        waiting = self._waiting
        sent = sum(result.status == DeliveryStatus.SENT for result in waiting)
        with transaction.atomic():
            for (status, dimse_status, error), group in groupby(
                sorted(waiting, key=_outcome), key=lambda each: (each.status, each.dimse_status, each.error)
            ):
                rows = self._delivery.instances.filter(pk__in=[each.key for each in group])
                if status != DeliveryStatus.SENT:
                    # Sent meanwhile by another worker, or taken out: that stands.
                    rows = rows.exclude(status__in=(DeliveryStatus.SENT, DeliveryStatus.CANCELED))
                rows.update(status=status, dimse_status=dimse_status, error=error, at=timezone.now())
            if sent and not self.sent:
                # With the first object, not the last: a peer may send back what it has at once.
                delivery = self._delivery
                record_hop(study=delivery.study, device=delivery.destination.device, rendition=delivery.rendition)
        # Not before: a database that is busy must not make us forget what was sent.
        self._waiting = []
        self.sent += sent
        leases.renew(self._delivery)
        self._written_at = time.monotonic()


def _outcome(result: Result) -> tuple[str, int, str]:
    return result.status, result.dimse_status or -1, result.error
