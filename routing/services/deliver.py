"""Sending a delivery: taken with a lease, sent, every instance's result kept; nothing fails silently."""

import logging
import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, QuerySet
from django.utils import timezone

from orchestrator import storage
from orchestrator.models import ApplicationEntity, IdentityClaim, Instance, acting, current_actor
from orchestrator.services import leases
from orchestrator.services.exceptions import open_case, resolve_about
from orchestrator.services.studies import lock_study
from orchestrator.services.workflow import LeaseLost, ring, transition
from orchestrator.states import DeliveryStatus, Identity, IllegalTransition, MatchedBy
from routing.datasets import ORIGINAL, NoRendition, rendition_of, write_rendition
from routing.models import Delivery, DeliveryAttempt, Destination
from routing.selectors import other_copies
from routing.services import turns
from routing.services.custody import corrections_of, refresh_custody
from routing.services.notes import Notes
from routing.services.route import deliver_to, withdraw_claim
from routing.transports.base import Item, Result, Transport, TransportError, Unsendable
from routing.transports.cstore import CStore

logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 8
# After that many deliveries, or that long while something else waits, a worker turns to other destinations.
MOST_ON_ONE_ASSOCIATION = 50
TURN_SECONDS = 20.0
# PS3.4 B.2.3.
_OUT_OF_RESOURCES = 0xA700
_UNSENT = (DeliveryStatus.QUEUED, DeliveryStatus.RETRYING, DeliveryStatus.UNKNOWN)


def transport_of(destination: Destination) -> Transport:
    return CStore(ae_title=destination.ae_title, host=destination.host, port=destination.port)


def ring_due() -> None:
    """Sweep: deliveries whose bell was lost, whose worker died, or whose time has come again."""
    turns.ring_due(settings.WORKERS)


def serve_next() -> None:
    """Go where it is time to go."""
    destination = turns.next_turn()
    if destination is not None:
        serve(destination)


def serve(destination: Destination) -> None:
    """Deliver what waits for one peer over one association, the most urgent first, until it is others' turn."""
    turn = _Turn()
    with transport_of(destination) as transport:
        for _ in range(MOST_ON_ONE_ASSOCIATION):
            delivery = _next(destination)
            if delivery is None:
                return
            _try_safely(delivery, transport, turn)
            if turn.lost:
                return
            if turn.over:
                break
    ring("routing.tasks.deliver")


class _Turn:
    """A worker's stay at one peer. `over`: others should have theirs; `lost`: the peer takes nothing more now."""

    def __init__(self) -> None:
        self.over = self.lost = False
        self._until = time.monotonic() + TURN_SECONDS

    def heard(self, delivery: Delivery, result: Result) -> None:
        out_of_resources = (result.dimse_status or 0) & 0xFF00 == _OUT_OF_RESOURCES
        self.lost = self.lost or out_of_resources or result.status == DeliveryStatus.UNKNOWN
        if time.monotonic() > self._until:
            self._until = time.monotonic() + TURN_SECONDS / 4
            self.over = turns.should_give_way(delivery)


def _next(destination: Destination) -> Delivery | None:
    """A delivery to the peer that we talk to: its address may have been changed meanwhile."""
    same_peer = {
        f"destination__{name}": getattr(destination, name) for name in ("id", "ae_title", "host", "port")
    }  # fmt: skip
    pk = turns.due().filter(**same_peer).values_list("pk", flat=True).first()
    return leases.take(turns.may_be_tried(), pk) if pk else None


def _try_safely(delivery: Delivery, transport: Transport, turn: _Turn) -> None:
    try:
        # Whatever is waited for on the wire has an end of its own; a large object may take hours on a slow line.
        with leases.held(delivery, longest=math.inf):
            _try(delivery, transport, turn)
    except LeaseLost:
        logger.warning("Delivery %d was taken from this worker", delivery.pk)
        # An undone decision may have taken it, while an object was on its way that is there now.
        sent = IdentityClaim.objects.filter(instances__in=_instances(delivery, DeliveryStatus.SENT))
        for claim_id in sent.exclude(identity=Identity.MATCHED).distinct().values_list("pk", flat=True):
            withdraw_claim(claim_id)


def _instances(delivery: Delivery, *statuses: DeliveryStatus) -> QuerySet[Instance]:
    return Instance.objects.filter(pk__in=delivery.instances.filter(status__in=statuses).values("instance"))


def _try(delivery: Delivery, transport: Transport, turn: _Turn) -> None:
    started_at = timezone.now()
    transition(delivery, "delivery.sending")
    if not _keep_what_is_right(delivery):
        transition(
            delivery, "delivery.canceled", reason="the study's identity or corrections changed", lease_until=None,
            next_attempt_at=None, finished_at=timezone.now(),
        )  # fmt: skip
        return
    notes = Notes(delivery)
    error, permanent = "", False
    try:
        for result in transport.send(_items(delivery)):
            notes.add(result)
            turn.heard(delivery, result)
            if turn.over:
                break
    except TransportError as problem:
        error, permanent, turn.lost = str(problem), problem.permanent, True
    except LeaseLost:
        raise
    except Exception as problem:
        # A defect of ours: tried again like any failure, and in the end shown.
        logger.exception("Delivery %d failed", delivery.pk)
        error = f"Internal error ({type(problem).__name__})"
    notes.write()
    if turn.lost:
        turns.silent(delivery.destination, error or _first_error(delivery))
    else:
        turns.answered(delivery.destination)
    _conclude(delivery, error, permanent=permanent, started_at=started_at, newly_sent=notes.sent)


@transaction.atomic
def _keep_what_is_right(delivery: Delivery) -> bool:
    """Take out what is no longer right, since identity may have changed after this was queued.

    What is matched but corrected otherwise leaves by a delivery of its present rendition. False when nothing is left.
    """
    lock_study(delivery.study_id)
    right = []
    waiting = delivery.instances.exclude(status=DeliveryStatus.CANCELED)
    for claim in IdentityClaim.objects.filter(pk__in=waiting.values("instance__claim")).select_related("study"):
        matched = claim.identity == Identity.MATCHED
        if matched and rendition_of(corrections_of(claim)) == delivery.rendition:
            right.append(claim.pk)
            continue
        unsent = delivery.instances.filter(instance__claim=claim).exclude(status=DeliveryStatus.SENT)
        if unsent.update(status=DeliveryStatus.CANCELED) and matched:
            deliver_to(
                claim.study, claim, delivery.destination, priority=delivery.priority, rule=delivery.rule,
                version_id=delivery.version_id, instead=True,
            )  # fmt: skip
    return bool(right)


def _items(delivery: Delivery) -> Iterator[Item]:
    """What is not sent yet, as objects that are made when their turn comes."""
    waiting = delivery.instances.filter(status__in=_UNSENT).select_related("instance__claim").order_by("pk")
    charsets = dict(ApplicationEntity.objects.values_list("ae_title", "default_character_set"))
    claims = IdentityClaim.objects.filter(pk__in=waiting.values("instance__claim"))
    corrections = {claim.pk: (corrections_of(claim), _reason(claim)) for claim in claims}
    for row in waiting:
        instance = row.instance
        charset = charsets.get(instance.calling_ae_title, "")
        file = partial(_file, delivery, instance, *corrections[instance.claim_id], charset)
        yield Item(row.pk, instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid, file)


def _reason(claim: IdentityClaim) -> str:
    """(0400,0565): a person said that something is wrong, or the record says otherwise."""
    return "CORRECT" if claim.matched_by == MatchedBy.PERSON else "COERCE"


@contextmanager
def _file(
    delivery: Delivery,
    instance: Instance,
    corrections: dict[str, tuple[str, str]],
    reason: str,
    default_character_set: str,
) -> Iterator[Path]:
    """An instance's file as this delivery sends it. Raises Unsendable."""
    try:
        path = storage.path_of(instance.spool_key)
    except FileNotFoundError:
        raise Unsendable("The spool no longer has the file of this object.") from None
    if delivery.rendition == ORIGINAL:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="rendition-", dir=storage.incoming()) as folder:
        target = Path(folder) / "object.dcm"
        try:
            write_rendition(
                path, target, corrections, sender=instance.calling_ae_title, reason=reason,
                default_character_set=default_character_set,
            )  # fmt: skip
        except NoRendition as error:
            raise Unsendable(str(error)) from error
        yield target


@transaction.atomic
def _conclude(delivery: Delivery, error: str, *, permanent: bool, started_at: datetime, newly_sent: int) -> None:
    """From the instances' results to the delivery's state."""
    # Locked against late instances: they either count here, or find the delivery finished and extend it.
    lock_study(delivery.study_id)
    _locked(delivery)
    live = delivery.instances.exclude(status=DeliveryStatus.CANCELED)
    statuses = Counter(live.values_list("status", flat=True))
    total, sent, failed = statuses.total(), statuses[DeliveryStatus.SENT], statuses[DeliveryStatus.FAILED]
    error = error or _first_error(delivery)
    # A peer that takes some each time is getting there.
    attempts = 1 if newly_sent else delivery.attempts
    if sent == total:
        outcome = DeliveryStatus.SENT
        _sent(delivery)
    elif permanent or (failed and sent + failed == total) or attempts >= MOST_ATTEMPTS:
        outcome = DeliveryStatus.FAILED
        _failed(delivery, error, sent, total)
    else:
        # Without an error it only gave way to others, or grew while it was being sent.
        outcome = DeliveryStatus.RETRYING if error else DeliveryStatus.PARTIAL
        outcome = DeliveryStatus.UNKNOWN if statuses[DeliveryStatus.UNKNOWN] else outcome
        _postpone(delivery, outcome, error, attempts)
    DeliveryAttempt.objects.create(
        delivery=delivery, started_at=started_at, sent=newly_sent, outcome=outcome,
        error="" if outcome == DeliveryStatus.SENT else error,
    )  # fmt: skip


_EVENTS = {
    DeliveryStatus.UNKNOWN: "delivery.unknown",
    DeliveryStatus.RETRYING: "delivery.retrying",
    DeliveryStatus.PARTIAL: "delivery.partial",
}


def _postpone(delivery: Delivery, outcome: DeliveryStatus, error: str, attempts: int) -> None:
    """To be tried again: later where something failed, else at once."""
    wait = leases.backoff(attempts, base=5.0, cap=900.0) if error else timedelta()
    event = _EVENTS[outcome]
    transition(
        delivery, event, attempts=attempts, last_error=error, lease_until=None, next_attempt_at=timezone.now() + wait
    )
    if not wait:
        ring("routing.tasks.deliver")


def _first_error(delivery: Delivery) -> str:
    unsent = (DeliveryStatus.RETRYING, DeliveryStatus.UNKNOWN, DeliveryStatus.FAILED)
    row = delivery.instances.filter(status__in=unsent).exclude(error="").order_by("pk").first()
    return row.error if row else ""


def _sent(delivery: Delivery) -> None:
    transition(
        delivery, "delivery.sent", last_error="", lease_until=None, next_attempt_at=None, finished_at=timezone.now()
    )
    resolve_about("delivery_failed", about=delivery, resolution="delivered")
    _ask_to_look(delivery)
    refresh_custody(delivery.study_id)


def _ask_to_look(delivery: Delivery) -> None:
    """A peer that had the same objects with other values may have kept those, and answered Success all the same.

    Until what it holds is read back, a person is asked, once per delivery: earlier questions about it are answered.
    """
    if not delivery.instances.filter(Exists(other_copies()), status=DeliveryStatus.SENT).exists():
        return
    for other in Delivery.objects.filter(study=delivery.study, destination=delivery.destination).exclude(
        pk=delivery.pk
    ):
        resolve_about("already_delivered", about=other, resolution="other values were sent")
    place = delivery.destination.name
    open_case(
        "already_delivered",
        about=delivery,
        reason_code="CORRECTED_AFTER_DELIVERY",
        summary=f"{place} had these images with other values and may have kept them: look there, then dismiss this.",
        site=delivery.study.site,
        study=delivery.study,
        source=place,
    )


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


def _locked(delivery: Delivery) -> Delivery:
    return Delivery.objects.select_for_update(of=("self",), no_key=True).get(pk=delivery.pk)


@transaction.atomic
def retry(delivery: Delivery, *, reason: str = "") -> None:
    """Try a delivery that failed, was canceled or waits again now, from where it stopped, with fresh attempts.

    Raises IllegalTransition when it is being sent, or is sent.
    """
    locked = _locked(delivery)
    if locked.status == DeliveryStatus.SENDING:
        raise IllegalTransition("delivery", locked.status, "delivery.retrying")
    locked.instances.exclude(status=DeliveryStatus.SENT).update(status=DeliveryStatus.QUEUED, error="")
    transition(
        locked, "delivery.retrying", reason=reason, attempts=0, next_attempt_at=timezone.now(), lease_until=None,
        finished_at=None,
    )  # fmt: skip
    delivery.refresh_from_db()
    turns.try_now(delivery.destination)


@transaction.atomic
def cancel(delivery: Delivery, *, reason: str) -> None:
    """Send no more of it, even when a worker is at it (the fence stops that one). What was sent stays there.

    Raises IllegalTransition when it is sent or canceled.
    """
    lock_study(delivery.study_id)
    locked = _locked(delivery)
    transition(
        locked, "delivery.canceled", reason=reason, fence=locked.fence + 1, lease_until=None, next_attempt_at=None,
        finished_at=timezone.now(),
    )  # fmt: skip
    resolve_about("delivery_failed", about=locked, resolution="canceled")
    refresh_custody(locked.study_id)
    delivery.refresh_from_db()


@transaction.atomic
def set_paused(destination: Destination, *, paused: bool, reason: str) -> bool:
    """A paused destination takes nothing; its deliveries wait. False when it was so already."""
    locked = Destination.objects.select_for_update(no_key=True).get(pk=destination.pk)
    if locked.paused == paused:
        return False
    locked.paused = paused
    with acting(current_actor(), reason):
        locked.save(update_fields=["paused"])
    if not paused:
        turns.try_now(locked)
    return True
