"""Sending a delivery: taken with a lease, sent, every instance's result kept; nothing fails silently."""

import logging
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from orchestrator import storage
from orchestrator.models import Study, acting, current_actor
from orchestrator.services import leases
from orchestrator.services.exceptions import open_case, resolve_about
from orchestrator.services.studies import record_hop
from orchestrator.services.workflow import LeaseLost, ring, transition
from orchestrator.states import Custody, DeliveryStatus, Identity, IllegalTransition
from routing.datasets import ORIGINAL, rendition_of, write_rendition
from routing.models import DeliveredInstance, Delivery, DeliveryAttempt, Destination
from routing.services.route import corrections_of
from routing.transports.base import Item, Result, Transport, TransportError
from routing.transports.cstore import CStore

logger = logging.getLogger(__name__)

LEASE_SECONDS = 120.0
MOST_ATTEMPTS = 8
_DUE = (
    DeliveryStatus.QUEUED, DeliveryStatus.RETRYING, DeliveryStatus.UNKNOWN, DeliveryStatus.PARTIAL,
    DeliveryStatus.SENDING,
)  # fmt: skip
_UNSENT = (DeliveryStatus.QUEUED, DeliveryStatus.RETRYING, DeliveryStatus.UNKNOWN)


def transport_of(destination: Destination) -> Transport:
    return CStore(ae_title=destination.ae_title, host=destination.host, port=destination.port)


def due() -> QuerySet[Delivery]:
    """Deliveries that may be tried now."""
    return leases.due(Delivery.objects.filter(status__in=_DUE, destination__paused=False))


def ring_due() -> None:
    """Sweep: deliveries whose bell was lost, whose worker died, or whose time has come again."""
    for delivery_id in due().order_by("next_attempt_at").values_list("pk", flat=True)[:200]:
        ring("routing.tasks.deliver", delivery_id)


def deliver(delivery_id: int) -> None:
    """Try one delivery. Does nothing when it is not due or another worker has it."""
    queryset = Delivery.objects.filter(status__in=_DUE, destination__paused=False)
    delivery = leases.take(queryset, delivery_id, seconds=LEASE_SECONDS)
    if delivery is None:
        return
    try:
        _try(delivery)
    except LeaseLost:
        logger.warning("Delivery %d was taken over by another worker", delivery_id)


def _try(delivery: Delivery) -> None:
    started_at = timezone.now()
    transition(delivery, "delivery.sending")
    if not _still_wanted(delivery):
        transition(
            delivery, "delivery.canceled", reason="the study's identity or corrections changed", lease_until=None,
            next_attempt_at=None, finished_at=timezone.now(),
        )  # fmt: skip
        return
    error, permanent = "", False
    try:
        with tempfile.TemporaryDirectory(prefix="rendition-", dir=storage.incoming()) as folder:
            for result in transport_of(delivery.destination).send(_items(delivery, Path(folder))):
                _note(delivery, result)
    except TransportError as problem:
        error, permanent = str(problem), problem.permanent
    except FileNotFoundError as problem:
        error, permanent = str(problem), True
    _conclude(delivery, error, permanent=permanent, started_at=started_at)


def _still_wanted(delivery: Delivery) -> bool:
    """Identity may have changed since this was queued: what is no longer right must not leave."""
    first = delivery.instances.select_related("instance__claim").first()
    if first is None:
        return False
    claim = first.instance.claim
    return claim.identity == Identity.MATCHED and rendition_of(corrections_of(claim)) == delivery.rendition


def _items(delivery: Delivery, folder: Path) -> Iterator[Item]:
    """The files that are not sent yet, corrected where the rendition says so."""
    waiting = delivery.instances.filter(status__in=_UNSENT).select_related("instance__claim").order_by("pk")
    for row in waiting:
        instance = row.instance
        path = storage.path_of(instance.spool_key)
        if delivery.rendition != ORIGINAL:
            target = folder / f"{row.pk}.dcm"
            write_rendition(path, target, corrections_of(instance.claim), sender=instance.calling_ae_title)
            path = target
        yield Item(row.pk, path, instance.sop_class_uid, instance.transfer_syntax_uid)


def _note(delivery: Delivery, result: Result) -> None:
    DeliveredInstance.objects.filter(pk=result.key).update(
        status=result.status, dimse_status=result.dimse_status, error=result.error, at=timezone.now()
    )
    leases.renew(delivery, seconds=LEASE_SECONDS)


@transaction.atomic
def _conclude(delivery: Delivery, error: str, *, permanent: bool, started_at: datetime) -> None:
    """From the instances' results to the delivery's state."""
    statuses = list(delivery.instances.values_list("status", flat=True))
    sent = statuses.count(DeliveryStatus.SENT)
    failed = statuses.count(DeliveryStatus.FAILED)
    error = error or _first_error(delivery)
    if sent == len(statuses):
        outcome = DeliveryStatus.SENT
        _sent(delivery)
    elif permanent or (failed and sent + failed == len(statuses)) or delivery.attempts >= MOST_ATTEMPTS:
        outcome = DeliveryStatus.FAILED
        _failed(delivery, error, sent, len(statuses))
    else:
        unknown = DeliveryStatus.UNKNOWN in statuses
        outcome = DeliveryStatus.UNKNOWN if unknown else DeliveryStatus.RETRYING
        wait = leases.backoff(delivery.attempts, base=5.0, cap=900.0)
        transition(
            delivery, "delivery.unknown" if unknown else "delivery.retrying", last_error=error, lease_until=None,
            next_attempt_at=timezone.now() + wait,
        )  # fmt: skip
    DeliveryAttempt.objects.create(
        delivery=delivery, started_at=started_at, sent=sent, outcome=outcome, error="" if outcome == "SENT" else error
    )


def _first_error(delivery: Delivery) -> str:
    row = delivery.instances.exclude(error="").exclude(status=DeliveryStatus.SENT).first()
    return row.error if row else ""


def _sent(delivery: Delivery) -> None:
    transition(
        delivery, "delivery.sent", last_error="", lease_until=None, next_attempt_at=None, finished_at=timezone.now()
    )
    record_hop(study=delivery.study, device=delivery.destination.device, rendition=delivery.rendition)
    resolve_about("delivery_failed", about=delivery, resolution="delivered")
    _advance_custody(delivery.study_id)


def _failed(delivery: Delivery, error: str, sent: int, total: int) -> None:
    transition(
        delivery, "delivery.failed", last_error=error, lease_until=None, next_attempt_at=None,
        finished_at=timezone.now(),
    )  # fmt: skip
    open_case(
        "delivery_failed",
        about=delivery,
        reason_code="DELIVERY_FAILED",
        summary=f"{delivery.destination.name} has {sent} of {total} objects: {error}",
        site=delivery.study.site,
        study=delivery.study,
        source=delivery.destination.name,
    )


def _advance_custody(study_id: int) -> None:
    """DELIVERED once every required destination of the study has got all of it."""
    study = Study.objects.select_for_update(of=("self",)).get(pk=study_id)
    required = Delivery.objects.filter(study=study, destination__required_for_custody=True).exclude(
        status=DeliveryStatus.CANCELED
    )
    done = required.exists() and not required.exclude(status=DeliveryStatus.SENT).exists()
    if done and study.custody == Custody.RECEIVED:
        transition(study, "study.delivered")


def _locked(delivery: Delivery) -> Delivery:
    """The delivery as it is now, and as it stays until this transaction ends."""
    return Delivery.objects.select_for_update(of=("self",)).get(pk=delivery.pk)


@transaction.atomic
def retry(delivery: Delivery, *, reason: str = "") -> None:
    """Try a delivery again that has stopped, from where it stopped, with fresh attempts. Raises IllegalTransition."""
    locked = _locked(delivery)
    if locked.status == DeliveryStatus.SENDING:
        # The machine has this move for the worker alone, which sends at this moment.
        raise IllegalTransition("delivery", locked.status, "delivery.retrying")
    locked.instances.exclude(status=DeliveryStatus.SENT).update(status=DeliveryStatus.QUEUED, error="")
    transition(
        locked, "delivery.retrying", reason=reason, attempts=0, next_attempt_at=timezone.now(), lease_until=None,
        finished_at=None,
    )  # fmt: skip
    ring("routing.tasks.deliver", locked.pk)


@transaction.atomic
def cancel(delivery: Delivery, *, reason: str) -> None:
    """Send no more of it. What was sent stays where it is. Raises IllegalTransition."""
    locked = _locked(delivery)
    # With another fence a worker that is sending it has lost it, and stops at its next object.
    transition(
        locked, "delivery.canceled", reason=reason, fence=locked.fence + 1, lease_until=None, next_attempt_at=None,
        finished_at=timezone.now(),
    )  # fmt: skip


@transaction.atomic
def set_paused(destination: Destination, *, paused: bool, reason: str) -> bool:
    """A paused destination takes nothing; its deliveries wait. False when it was so already."""
    locked = Destination.objects.select_for_update().get(pk=destination.pk)
    if locked.paused == paused:
        return False
    locked.paused = paused
    with acting(current_actor(), reason):
        locked.save(update_fields=["paused"])
    if not paused:
        for delivery_id in due().filter(destination=locked).values_list("pk", flat=True)[:200]:
            ring("routing.tasks.deliver", delivery_id)
    return True
