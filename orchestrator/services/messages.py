"""HL7 messages as rows: kept, applied in order per interface, set aside when they fail (promise 10)."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from orchestrator.models import ExceptionCase, HL7Application, InboundMessage, Issuer, Site, UnknownCaller
from orchestrator.services.exceptions import open_case, resolve_about
from orchestrator.services.workflow import record, ring, ring_at_once, transition
from orchestrator.states import CASE_OPEN, InboundStatus

_LOOPBACK = ("127.0.0.1", "::1")
_APPLY = "orchestrator.tasks.apply_messages"
REPETITION_DAYS = 7


# (interface or None when it is not known, control id, sha256 of the bytes)
RepetitionKey = tuple[int | None, str, str]


class Sender(NamedTuple):
    """Who a message says it is from (MSH-3, MSH-4), and where from."""

    application: str
    facility: str
    address: str


class UnknownSender(Exception):
    """This sending application is not configured, or switched off, and was recorded."""


def interfaces_for(senders: Collection[Sender]) -> dict[Sender, HL7Application | UnknownSender]:
    """The interfaces of senders, locked until the commit. By loopback trust a new one is learned."""
    known = {
        (interface.sending_application, interface.sending_facility): interface
        for interface in HL7Application.objects.select_related("site")
        .select_for_update(of=("self",))
        .filter(
            sending_application__in={each.application for each in senders},
            sending_facility__in={each.facility for each in senders},
        )
        # Always locked in the same order.
        .order_by("pk")
    }
    found: dict[Sender, HL7Application | UnknownSender] = {}
    for sender in sorted(senders):
        interface = known.get(sender[:2])
        if interface is None and settings.TRUST == "loopback" and sender.address in _LOOPBACK:
            interface = known[sender[:2]] = _learn(sender)
        if interface is None:
            found[sender] = _record_unknown(sender, "is not configured here")
        else:
            found[sender] = interface if interface.enabled else _record_unknown(sender, "is switched off here")
    return found


def _learn(sender: Sender) -> HL7Application:
    name = "|".join(filter(None, sender[:2]))[:100] or "unnamed"
    defaults = {"name": name, "site": Site.objects.earliest("pk")}
    names = {"sending_application": sender.application, "sending_facility": sender.facility}
    pk = HL7Application.objects.get_or_create(**names, defaults=defaults)[0].pk
    return HL7Application.objects.select_related("site").select_for_update(of=("self",)).get(pk=pk)


def _record_unknown(sender: Sender, why: str) -> UnknownSender:
    """Count a caller that is refused, and ask a person, once per caller, whether it should be."""
    name, address = f"{sender.application}|{sender.facility}"[:370], sender.address
    caller, created = UnknownCaller.objects.get_or_create(
        protocol=UnknownCaller.Protocol.HL7, name=name, address=address, defaults={"refused": True}
    )
    if not created:
        UnknownCaller.objects.filter(pk=caller.pk).update(count=F("count") + 1, last_seen_at=timezone.now())
    if (
        created
        or not ExceptionCase.objects.filter(
            kind="unknown_sender", status__in=CASE_OPEN, subject_type="unknowncaller", subject_id=caller.pk
        ).exists()
    ):
        open_case(
            "unknown_sender",
            about=caller,
            reason_code="UNKNOWN_HL7_APPLICATION",
            summary=f"The HL7 application {name[:100]} at {address} {why}: its messages are refused.",
            site=Site.objects.earliest("pk"),
            source=name[:100],
        )
    return UnknownSender(f"the sending application {why}")


def find_repetitions(keys: Sequence[RepetitionKey]) -> dict[RepetitionKey, InboundMessage]:
    """The same messages (sender, control id and bytes) of the last week, as they came first."""
    # Only columns of the index message_repetition: SQLite would take another one and read the week.
    senders = {interface_id for interface_id, _, _ in keys}
    of_sender = Q(interface_id__in=senders - {None})
    if None in senders:
        of_sender |= Q(interface=None)
    found = InboundMessage.objects.filter(
        of_sender,
        control_id__in={control_id for _, control_id, _ in keys},
        digest__in={digest for _, _, digest in keys},
    ).only("interface_id", "control_id", "digest", "ack", "ack_code", "received_at", "duplicate_of_id")
    since = timezone.now() - timedelta(days=REPETITION_DAYS)
    # The newest wins: a message that was refused and then taken is taken.
    return {
        (each.interface_id, each.control_id, each.digest): each
        for each in sorted(found, key=lambda each: each.pk)
        if each.duplicate_of_id is None and each.received_at >= since
    }


def keep(messages: Sequence[InboundMessage]) -> None:
    """Rows for messages as they came, with what was answered; those to be applied get places in their order.

    Their interfaces are locked (`interfaces_for`): the places are given in the order of the commits.
    """
    moved: dict[int, HL7Application] = {}
    for each in messages:
        if each.interface is not None and each.status == InboundStatus.RECEIVED:
            interface = moved.setdefault(each.interface.pk, each.interface)
            interface.last_sequence += 1
            each.sequence = interface.last_sequence
    for pk, interface in moved.items():
        HL7Application.objects.filter(pk=pk).update(
            last_sequence=interface.last_sequence, last_message_at=timezone.now()
        )
    InboundMessage.objects.bulk_create([each for each in messages if each.duplicate_of is None])
    # After what they repeat, which may have come in the same breath.
    InboundMessage.objects.bulk_create([each for each in messages if each.duplicate_of is not None])


def ring_for(interface_id: int) -> None:
    """Wake a worker for the messages of an interface, after the commit."""
    ring(_APPLY, interface_id)


def ring_at_once_for(interface_id: int) -> bool:
    """The same for messages that are committed; False when the broker is away."""
    return ring_at_once(_APPLY, interface_id)


def raise_refusal(message: InboundMessage, *, reason_code: str, why: str) -> None:
    """A refused message needs somebody who talks to its sender."""
    source = message.interface.name if message.interface else message.address or ""
    open_case(
        "hl7_rejected",
        about=message,
        reason_code=reason_code[:60],
        summary=f"A message was refused: {why}. Its sender must correct and repeat it."[:300],
        site=message.site,
        message=message,
        source=source[:100],
    )


def next_message(interface_id: int) -> InboundMessage | None:
    """The message to apply next on an interface: the oldest that has not been looked at."""
    return (
        InboundMessage.objects.filter(interface_id=interface_id, status=InboundStatus.RECEIVED)
        .select_related("interface__site")
        .order_by("sequence")
        .first()
    )


def blocking(message: InboundMessage) -> InboundMessage | None:
    """The set-aside message of the same patient or order that this one must wait for, on whatever interface."""
    shared = Q(pk__in=[])
    if message.patient_key:
        shared |= Q(patient_key=message.patient_key)
    if message.order_key:
        shared |= Q(order_key=message.order_key)
    waiting: QuerySet[InboundMessage] = InboundMessage.objects.filter(
        shared, status__in=[InboundStatus.QUARANTINED, InboundStatus.WAITING]
    )
    return waiting.exclude(pk=message.pk).filter(received_at__lte=message.received_at).order_by("pk").first()


def applied(message: InboundMessage, *, patient_id: int | None, order_id: int | None) -> None:
    """It is done, in the transaction of its effects; what waited behind it may be looked at again."""
    transition(
        message, "message.applied", applied_at=timezone.now(), error="", next_attempt_at=None,
        patient_id=patient_id, order_id=order_id,
    )  # fmt: skip
    resolve_about("hl7_quarantine", about=message, resolution="applied")
    _release_waiting(message)


def wait_behind(message: InboundMessage, blocker: InboundMessage) -> None:
    transition(message, "message.waiting", waits_for=blocker)


@transaction.atomic
def quarantine(message: InboundMessage, *, where: str, why: str) -> None:
    """Set it aside with a case; the messages of other patients and orders go on."""
    transition(message, "message.quarantined", error=f"{where}: {why}", next_attempt_at=None)
    open_case(
        "hl7_quarantine",
        about=message,
        reason_code=where[:60],
        summary=f"{message.message_type} could not be applied: {where}: {why}."[:300],
        site=message.site,
        message=message,
        source=message.interface.name if message.interface else "",
    )


@transaction.atomic
def replay(message: InboundMessage, *, reason: str) -> None:
    """Look at a message that was set aside once more."""
    transition(message, "message.released", reason=reason, waits_for=None)
    ring_for(message.interface_id or 0)


@transaction.atomic
def dismiss(message: InboundMessage, *, reason: str) -> None:
    """Give a message up; what waited behind it goes on."""
    transition(message, "message.dismissed", reason=reason)
    resolve_about("hl7_quarantine", about=message, resolution="dismissed")
    _release_waiting(message)


def _release_waiting(message: InboundMessage) -> None:
    for waiting in message.waiting.filter(status=InboundStatus.WAITING).order_by("pk"):
        transition(waiting, "message.released", waits_for=None)
        ring_for(waiting.interface_id or 0)


def ring_due() -> None:
    """Sweep: interfaces with messages that nobody has looked at."""
    waiting = InboundMessage.objects.filter(status=InboundStatus.RECEIVED, interface__isnull=False)
    for interface_id in waiting.order_by().values_list("interface_id", flat=True).distinct():
        ring_for(int(interface_id or 0))


def learn_default_issuer(site: Site, issuer: Issuer) -> None:
    """The first issuer that HL7 names becomes the default of a site without one (docs/adr/0007)."""
    if site.default_issuer_id is None:
        site.default_issuer = issuer
        site.save(update_fields=["default_issuer"])
        record("site.default_issuer_learned", site, detail={"issuer": issuer.pk})
