"""HL7 messages as rows: kept, applied in order per interface, set aside when they fail (promise 10)."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from orchestrator.models import ExceptionCase, HL7Application, InboundMessage, MessageKey, Site, UnknownCaller
from orchestrator.services.callers import refuse
from orchestrator.services.exceptions import open_case, resolve
from orchestrator.services.patients import ANOTHER_PERSON
from orchestrator.services.workflow import ring, ring_at_once, transition
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
        .select_for_update(of=("self",), no_key=True)
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
            found[sender] = _refuse(sender, "is not configured here")
        else:
            found[sender] = interface if interface.enabled else _refuse(sender, "is switched off here")
    return found


def _learn(sender: Sender) -> HL7Application:
    name = "|".join(filter(None, sender[:2]))[:100] or "unnamed"
    defaults = {"name": name, "site": Site.objects.earliest("pk")}
    names = {"sending_application": sender.application, "sending_facility": sender.facility}
    pk = HL7Application.objects.get_or_create(**names, defaults=defaults)[0].pk
    return HL7Application.objects.select_related("site").select_for_update(of=("self",), no_key=True).get(pk=pk)


def _refuse(sender: Sender, why: str) -> UnknownSender:
    name = f"{sender.application}|{sender.facility}"[:370]
    refuse(
        UnknownCaller.Protocol.HL7,
        name=name,
        address=sender.address,
        summary=f"The HL7 application {name[:100]} at {sender.address} {why}: its messages are refused.",
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


def _to_apply(interface_id: int) -> QuerySet[InboundMessage]:
    return InboundMessage.objects.filter(interface_id=interface_id, status=InboundStatus.RECEIVED)


def has_next(interface_id: int) -> bool:
    """Whether a message waits to be applied on an interface."""
    return _to_apply(interface_id).exists()


def next_message(interface_id: int) -> InboundMessage | None:
    """The message to apply next on an interface: the oldest that has not been looked at.

    Locked: that keeps the order between workers, and leaves the interface's own row to the listener.
    """
    message = (
        _to_apply(interface_id)
        .select_related("interface__site__default_issuer", "interface__default_issuer")
        .select_for_update(of=("self",), no_key=True)
        .order_by("sequence")
        .first()
    )
    if message and message.interface and message.interface.site_id == message.site_id:
        message.site = message.interface.site
    return message


def blocking(message: InboundMessage, keys: Collection[str]) -> int | None:
    """The last message before this one, on whatever interface, that shares a key and is not settled.

    Ids are given in the order of an interface (`keep` holds its lock). Waiting for the last one makes a chain: what
    waits is looked at again once, however much waits.
    """
    before = MessageKey.objects.filter(key__in=_columns(keys), message_id__lt=message.pk)
    last: int | None = before.aggregate(last=Max("message_id"))["last"]
    return last


def _columns(keys: Collection[str]) -> list[str]:
    return [key[:255] for key in keys]


def _hold(message: InboundMessage, keys: Collection[str]) -> None:
    """Later messages with these keys wait, until this one is settled."""
    rows = [MessageKey(key=key, message=message) for key in sorted(_columns(keys))]
    MessageKey.objects.bulk_create(rows, ignore_conflicts=True)


def _settle(message: InboundMessage, *, resolution: str, has_case: bool = True) -> None:
    """What waited behind it is looked at again; its case is settled, also when somebody has claimed it."""
    MessageKey.objects.filter(message=message).delete()
    if message.waiting.exists():
        _release(message.waiting.all())
    if not has_case:
        return
    cases = ExceptionCase.objects.filter(kind="hl7_quarantine", message=message, status__in=CASE_OPEN)
    for case in cases:
        resolve(case, resolution=resolution)


def _release(messages: QuerySet[InboundMessage]) -> None:
    """Those of the messages that wait are looked at again."""
    waiting = messages.filter(status=InboundStatus.WAITING).select_for_update(of=("self",), no_key=True)
    for each in waiting.order_by("pk"):
        transition(each, "message.released", waits_for=None)
        ring_for(each.interface_id or 0)


def applied(message: InboundMessage, *, patient_id: int | None, order_id: int | None) -> None:
    """It is done, in the transaction of its effects, which has locked it (`next_message`)."""
    # Who sets a message aside says why (`quarantine`).
    has_case = bool(message.error)
    transition(
        message, "message.applied", applied_at=timezone.now(), error="", next_attempt_at=None,
        patient_id=patient_id, order_id=order_id, ours=True,
    )  # fmt: skip
    _settle(message, resolution="applied", has_case=has_case)


def wait_behind_others(message: InboundMessage, *, keys: Collection[str]) -> bool:
    """Whether the message waits now, behind one before it that is not settled.

    That one is locked and looked at once more: whoever settles it at this moment would not see that this one waits.
    """
    while blocker := blocking(message, keys):
        InboundMessage.objects.select_for_update(of=("self",), no_key=True).get(pk=blocker)
        if blocking(message, keys) == blocker:
            transition(message, "message.waiting", waits_for_id=blocker)
            _hold(message, keys)
            return True
    return False


@transaction.atomic
def quarantine(message: InboundMessage, *, where: str, why: str, keys: Collection[str]) -> None:
    """Set it aside with a case; the messages of other patients and orders go on."""
    transition(message, "message.quarantined", error=f"{where}: {why}", next_attempt_at=None)
    _hold(message, keys)
    then = " If it is the same person, apply the message again." if why == ANOTHER_PERSON else ""
    open_case(
        "hl7_quarantine",
        about=message,
        reason_code=where[:60],
        summary=f"{message.message_type} could not be applied: {where}: {why}.{then}"[:300],
        site=message.site,
        message=message,
        source=message.interface.name if message.interface else "",
    )


@transaction.atomic
def replay(message: InboundMessage, *, reason: str) -> None:
    """Look at a message that was set aside once more. Of a conflict, that is a person's word that it is none."""
    confirmed = message.confirmed or ANOTHER_PERSON in message.error
    transition(message, "message.released", reason=reason, waits_for=None, confirmed=confirmed)
    ring_for(message.interface_id or 0)


@transaction.atomic
def dismiss(message: InboundMessage, *, reason: str) -> None:
    """Give a message up; what waited behind it goes on."""
    transition(message, "message.dismissed", reason=reason)
    _settle(message, resolution="dismissed")


def give_up_dismissed(case_id: int) -> None:
    """Whoever dismisses the case gives its message up: else others would wait behind it, and nobody be asked.

    Subscriber of case.dismissed; may run twice.
    """
    case = ExceptionCase.objects.select_related("message").get(pk=case_id)
    if case.kind == "hl7_quarantine" and case.message and case.message.status == InboundStatus.QUARANTINED:
        dismiss(case.message, reason=f"{case} was dismissed")


@transaction.atomic
def ring_due() -> None:
    """Sweep: interfaces with messages that nobody has looked at; and what waits behind nothing any more."""
    settled = (InboundStatus.APPLIED, InboundStatus.REJECTED)
    _release(InboundMessage.objects.filter(waits_for__status__in=settled))
    waiting = InboundMessage.objects.filter(status=InboundStatus.RECEIVED, interface__isnull=False)
    for interface_id in waiting.order_by().values_list("interface_id", flat=True).distinct():
        ring_for(int(interface_id or 0))
