"""What the listener does with frames before it answers: read, check, keep, and decide the acknowledgement."""

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import close_old_connections, transaction
from django.utils import timezone

from orchestrator.hl7.messages import Malformed, Message, acknowledge, read
from orchestrator.hl7.mllp import Frame
from orchestrator.models import HL7Application, InboundMessage, Site
from orchestrator.services import messages
from orchestrator.services.messages import UnknownSender
from orchestrator.states import InboundStatus

logger = logging.getLogger(__name__)

# What a message of a type must carry to be taken at all: (segment, field); field 0 asks for the segment alone.
REQUIRED = {
    "ORM": [("PID", 3), ("PID", 5), ("ORC", 1), ("OBR", 0)],
    "ADT": [("PID", 3), ("PID", 5)],
}
_NEVER_OBR = {"CA", "DC", "HD", "RL", "SC", "OC", "OD"}


def store(frames: Sequence[Frame]) -> list[bytes]:
    """Keep all frames in one transaction; answers their acknowledgements in order. For `Listener`."""
    close_old_connections()
    with transaction.atomic():
        return [_store_one(frame) for frame in frames]


def _store_one(frame: Frame) -> bytes:
    now = timezone.now()
    digest = hashlib.sha256(frame.raw).hexdigest()
    try:
        message = read(frame.raw)
    except Malformed as unread:
        return _refuse(frame, None, None, unread, "AE", digest, now)
    try:
        interface = messages.interface_for(
            application=message.msh.get(3), facility=message.msh.get(4), address=frame.address
        )
    except UnknownSender as error:
        return _refuse(frame, message, None, Malformed("MSH-3", str(error), 204), "AR", digest, now)
    if interface.default_charset and not message.msh.get(18):
        message = read(frame.raw, default_charset=interface.default_charset)
    repeated = messages.find_repetition(interface, control_id=message.control_id, digest=digest)
    if repeated is not None:
        _keep(frame, message, interface, digest, now, ack=bytes(repeated.ack), ack_code=repeated.ack_code,
              status=InboundStatus.DUPLICATE, duplicate_of=repeated)  # fmt: skip
        return bytes(repeated.ack)
    problem = check(message)
    if problem is not None:
        return _refuse(
            frame, message, interface, problem, "AR" if problem.code in (200, 201, 203) else "AE", digest, now
        )
    row = _keep(frame, message, interface, digest, now, status=InboundStatus.RECEIVED, ack_code="AA")
    return _answer(row, message, "AA", None, now)


def check(message: Message) -> Malformed | None:
    """What makes it impossible to take this message; None when it can be taken."""
    if message.message_type not in settings.HL7_HANDLERS:
        kind = message.msh.get(9)
        known = {name.partition("^")[0] for name in settings.HL7_HANDLERS}
        code = 201 if kind in known else 200
        return Malformed("MSH-9", f"{message.message_type[:20]} is not supported", code)
    if not message.control_id:
        return Malformed("MSH-10", "the message control id is missing", 101)
    for name, number in REQUIRED.get(message.msh.get(9), []):
        if name == "OBR" and (orc := message.first("ORC")) and orc.get(1) in _NEVER_OBR:
            continue
        segment = message.first(name)
        if segment is None:
            return Malformed(name, "the segment is missing", 100)
        if number and not segment.get(number).strip('"'):
            return Malformed(f"{name}-{number}", "the required field is empty", 101)
    return None


def _keep(
    frame: Frame, message: Message, interface: HL7Application, digest: str, now: datetime, **columns: Any
) -> InboundMessage:
    return messages.keep(
        interface=interface,
        site=interface.site,
        raw=frame.raw,
        digest=digest,
        address=frame.address,
        received_at=now,
        control_id=message.control_id[:199],
        message_type=message.message_type[:32],
        charset=message.charset[:64],
        sent_at=message.sent_at,
        **columns,
    )


def _refuse(
    frame: Frame,
    message: Message | None,
    interface: HL7Application | None,
    problem: Malformed,
    code: str,
    digest: str,
    now: datetime,
) -> bytes:
    """Keep it, open a case, and say no with segment and field."""
    row = messages.keep(
        interface=interface,
        site=interface.site if interface else Site.objects.earliest("pk"),
        raw=frame.raw,
        digest=digest,
        address=frame.address,
        received_at=now,
        control_id=message.control_id[:199] if message else "",
        message_type=message.message_type[:32] if message else "",
        charset=message.charset[:64] if message else "",
        sent_at=message.sent_at if message else None,
        status=InboundStatus.REJECTED,
        ack_code=code,
        error=str(problem),
    )
    messages.raise_refusal(row, reason_code=problem.where, why=str(problem))
    return _answer(row, message, code, problem, now)


def _answer(row: InboundMessage, message: Message | None, code: str, problem: Malformed | None, now: datetime) -> bytes:
    ack = acknowledge(message, code, problem=problem, control_id=f"F{row.pk}", now=now)
    messages.set_ack(row, ack)
    return ack


def refuse_large(data: bytes, address: str) -> bytes:
    """The answer to a frame beyond the limit. Its beginning is kept."""
    problem = Malformed("MSH", "the frame is larger than this listener takes", 207)
    with transaction.atomic():
        digest = hashlib.sha256(data).hexdigest()
        return _refuse(Frame(data[:65536], address), None, None, problem, "AR", digest, timezone.now())
