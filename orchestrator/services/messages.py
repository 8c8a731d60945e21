"""HL7 messages as rows: kept, applied in order per interface, set aside when they fail (promise 10)."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from orchestrator.models import HL7Application, InboundMessage, Issuer, Site, UnknownCaller
from orchestrator.services.exceptions import open_case, resolve_about
from orchestrator.services.workflow import record, ring, transition
from orchestrator.states import InboundStatus

_LOOPBACK = ("127.0.0.1", "::1")
REPETITION_DAYS = 7


class UnknownSender(Exception):
    """This sending application is not configured and was recorded."""


def interface_for(*, application: str, facility: str, address: str) -> HL7Application:
    """The interface of MSH-3 and MSH-4. By loopback trust a new one is learned; otherwise raises UnknownSender."""
    names = {"sending_application": application[:180], "sending_facility": facility[:180]}
    interface = HL7Application.objects.select_related("site").filter(**names).first()
    if interface is not None and interface.enabled:
        return interface
    if interface is None and settings.TRUST == "loopback" and address in _LOOPBACK:
        name = "|".join(filter(None, (application, facility)))[:100] or "unnamed"
        return HL7Application.objects.create(**names, name=name, site=Site.objects.earliest("pk"))
    caller, created = UnknownCaller.objects.get_or_create(
        protocol=UnknownCaller.Protocol.HL7, name=f"{application}|{facility}"[:370], address=address,
        defaults={"refused": True},
    )  # fmt: skip
    if not created:
        UnknownCaller.objects.filter(pk=caller.pk).update(count=F("count") + 1, last_seen_at=timezone.now())
    raise UnknownSender("the sending application is not configured here")


def find_repetition(interface: HL7Application, *, control_id: str, digest: str) -> InboundMessage | None:
    """The same message (control id and bytes) of the last week."""
    since = timezone.now() - timedelta(days=REPETITION_DAYS)
    return (
        InboundMessage.objects.filter(
            interface=interface, control_id=control_id, digest=digest, received_at__gte=since, duplicate_of=None
        )
        .exclude(status=InboundStatus.REJECTED)
        .first()
    )


def keep(*, interface: HL7Application | None, status: InboundStatus, **columns: Any) -> InboundMessage:
    """A row for a message; one to be applied gets its place in the interface's order, and the bell is rung."""
    sequence = None
    if interface is not None and status == InboundStatus.RECEIVED:
        HL7Application.objects.filter(pk=interface.pk).update(
            last_sequence=F("last_sequence") + 1, last_message_at=timezone.now()
        )
        sequence = HL7Application.objects.values_list("last_sequence", flat=True).get(pk=interface.pk)
        ring("orchestrator.tasks.apply_messages", interface.pk)
    return InboundMessage.objects.create(interface=interface, status=status, sequence=sequence, **columns)


def set_ack(message: InboundMessage, ack: bytes) -> None:
    """What was answered: a repetition gets the same."""
    InboundMessage.objects.filter(pk=message.pk).update(ack=ack)


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
    ring("orchestrator.tasks.apply_messages", message.interface_id or 0)


@transaction.atomic
def dismiss(message: InboundMessage, *, reason: str) -> None:
    """Give a message up; what waited behind it goes on."""
    transition(message, "message.dismissed", reason=reason)
    resolve_about("hl7_quarantine", about=message, resolution="dismissed")
    _release_waiting(message)


def _release_waiting(message: InboundMessage) -> None:
    for waiting in message.waiting.filter(status=InboundStatus.WAITING).order_by("pk"):
        transition(waiting, "message.released", waits_for=None)
        ring("orchestrator.tasks.apply_messages", waiting.interface_id or 0)


def ring_due() -> None:
    """Sweep: interfaces with messages that nobody has looked at."""
    waiting = InboundMessage.objects.filter(status=InboundStatus.RECEIVED, interface__isnull=False)
    for interface_id in waiting.order_by().values_list("interface_id", flat=True).distinct():
        ring("orchestrator.tasks.apply_messages", int(interface_id or 0))


def learn_default_issuer(site: Site, issuer: Issuer) -> None:
    """The first issuer that HL7 names becomes the default of a site without one (docs/adr/0007)."""
    if site.default_issuer_id is None:
        site.default_issuer = issuer
        site.save(update_fields=["default_issuer"])
        record("site.default_issuer_learned", site, detail={"issuer": issuer.pk})
