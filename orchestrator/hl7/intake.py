"""What the listener does with frames before it answers: read, check, keep, and decide the acknowledgement."""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import DataError, InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from orchestrator.hl7.checks import problem_of
from orchestrator.hl7.messages import Malformed, Message, acknowledge, read, read_header
from orchestrator.hl7.mllp import Frame
from orchestrator.models import HL7Application, InboundMessage, Site
from orchestrator.services import messages, new_messages
from orchestrator.services.messages import RepetitionKey, Sender, UnknownSender
from orchestrator.services.new_messages import NewMessage
from orchestrator.states import InboundStatus


@dataclass
class _Judged:
    """A frame, what could be read of it, and what speaks against it."""

    frame: Frame
    # What was read before it was known by whose character set and clock.
    header: Message | None = None
    head: Message | None = None
    interface: HL7Application | None = None
    problem: Malformed | None = None
    # The character set and time zone that it was read by.
    read_by: tuple[str, str] | None = None
    # Refused because of who sends, which has a case of its own.
    unknown_sender: bool = False
    at: datetime = field(default_factory=timezone.now)

    def __post_init__(self) -> None:
        self.digest = hashlib.sha256(self.frame.raw).hexdigest()

    @property
    def key(self) -> RepetitionKey:
        """What makes a repetition: sender, control id and content."""
        control_id = _column(self.head.control_id, 199) if self.head else ""
        return (self.interface.pk if self.interface else None, control_id, self.digest)

    @property
    def sender(self) -> Sender:
        msh = self.header.msh if self.header else None
        application, facility = (_column(msh.get(3), 180), _column(msh.get(4), 180)) if msh else ("", "")
        return Sender(application, facility, self.frame.address)


def store(frames: Sequence[Frame], *, ring: Callable[[Iterable[int]], None]) -> list[bytes]:
    """Keep all frames in one transaction; answers their acknowledgements in order. For `Listener`.

    `ring` is called after the commit with the interfaces that have new messages. Raises Error (the database's)
    when they could not be stored now: none may be answered.
    """
    if not frames:
        return []
    judged = [_Judged(frame) for frame in frames]
    try:
        answers, interface_ids = _store_usual(judged) or _store(judged)
    except (OperationalError, InterfaceError):
        # The connection may have died while nobody sent anything: once more, on a new one.
        connection.close()
        answers, interface_ids = _store(judged)
    except (DataError, ValueError):
        # One of them cannot be stored as it was read: the others must not suffer, and its bytes are kept.
        if len(frames) > 1:
            return [answer for frame in frames for answer in store([frame], ring=ring)]
        answers, interface_ids = _store([_unreadable(each) for each in frames])
    if interface_ids:
        ring(interface_ids)
    return answers


def _unreadable(frame: Frame) -> _Judged:
    """Whatever it says, it is kept as bytes."""
    each = _Judged(frame)
    each.problem = Malformed("MSH", "the message has values that cannot be stored", 207)
    return each


def _store_usual(judged: Sequence[_Judged]) -> tuple[list[bytes], set[int]] | None:
    """The same as `_store` for messages of known senders that can be taken and never came before; else None."""
    usual = []
    for each in judged:
        _read_header(each)
        interface = new_messages.interface_of(each.sender) if each.header else None
        if interface is None:
            return None
        _check(each, interface)
        if each.head is None or each.problem:
            return None
        usual.append((interface, _new(each, each.head)))
    if not new_messages.keep_new(usual):
        return None
    return [message.ack for _, message in usual], {interface.pk for interface, _ in usual}


def _new(each: _Judged, head: Message) -> NewMessage:
    """A message that is taken, with its acknowledgement."""
    return NewMessage(
        control_id=_column(head.control_id, 199),
        message_type=_column(head.message_type, 32),
        raw=each.frame.raw,
        charset=_column(head.charset, 64),
        digest=each.digest,
        sent_at=head.sent_at,
        address=each.frame.address or None,
        received_at=each.at,
        ack=_acknowledged(each, "AA"),
    )


def _acknowledged(each: _Judged, code: str) -> bytes:
    control_id = f"F{secrets.token_hex(9)}"
    return acknowledge(each.head, code, problem=each.problem, control_id=control_id, now=each.at)


@transaction.atomic
def _store(judged: Sequence[_Judged]) -> tuple[list[bytes], set[int]]:
    """Acknowledgements, and the interfaces with messages to apply."""
    _judge(judged)
    earlier = messages.find_repetitions([each.key for each in judged])
    rows = []
    for each in judged:
        row = _row(each, earlier.get(each.key))
        if row.duplicate_of is None:
            earlier[each.key] = row
        rows.append(row)
    messages.keep(rows)
    for each, row in zip(judged, rows, strict=True):
        if each.problem and row.status == InboundStatus.REJECTED and not each.unknown_sender:
            messages.raise_refusal(row, reason_code=each.problem.where, why=each.problem.why)
    to_apply = {row.interface_id for row in rows if row.interface_id and row.status == InboundStatus.RECEIVED}
    return [bytes(row.ack) for row in rows], to_apply


def _judge(batch: Sequence[_Judged]) -> None:
    """Read and check messages; nothing is raised, what is wrong stands in `problem`."""
    for each in batch:
        _read_header(each)
    interfaces = messages.interfaces_for({each.sender for each in batch if each.header})
    for each in batch:
        if each.header:
            _check(each, interfaces[each.sender])


def _read_header(each: _Judged) -> None:
    if each.header or each.problem:
        return
    try:
        each.header = each.head = read_header(each.frame.raw)
    except Malformed as problem:
        each.problem = problem


def _check(each: _Judged, interface: HL7Application | UnknownSender) -> None:
    """Read a message by what its interface says of it: not again when that has not changed."""
    if isinstance(interface, UnknownSender):
        each.interface, each.head, each.read_by, each.unknown_sender = None, each.header, None, True
        each.problem = Malformed("MSH-3", str(interface), 204)
        return
    each.interface, each.unknown_sender = interface, False
    read_by = interface.default_charset, interface.site.time_zone
    if read_by == each.read_by:
        return
    each.head, each.problem, each.read_by = each.header, None, read_by
    if not each.frame.whole:
        each.problem = Malformed("MSH", "the message is larger than this listener takes", 207)
        return
    try:
        each.head = read(each.frame.raw, default_charset=read_by[0], zone=ZoneInfo(read_by[1]))
        each.problem = problem_of(each.head)
    except Malformed as problem:
        each.problem = problem


def _row(each: _Judged, first: InboundMessage | None) -> InboundMessage:
    """The row of a message, with its acknowledgement; `first` is the same message as it came before."""
    row = InboundMessage(
        interface=each.interface,
        site=each.interface.site if each.interface else Site.objects.earliest("pk"),
        raw=each.frame.raw,
        digest=each.digest,
        address=each.frame.address or None,
        received_at=each.at,
        control_id=each.key[1],
        message_type=_column(each.head.message_type, 32) if each.head else "",
        charset=_column(each.head.charset, 64) if each.head else "",
        sent_at=each.head.sent_at if each.head else None,
        error=_column(str(each.problem), 500) if each.problem else "",
    )
    # Refused before and acceptable now (or the other way round) is news; otherwise the answer stands.
    if first is not None and (first.ack_code == "AA") == (each.problem is None):
        row.status, row.ack, row.ack_code, row.duplicate_of = (
            InboundStatus.DUPLICATE, first.ack, first.ack_code, first
        )  # fmt: skip
        return row
    row.status = InboundStatus.REJECTED if each.problem else InboundStatus.RECEIVED
    row.ack_code = each.problem.ack_code if each.problem else "AA"
    row.ack = _acknowledged(each, row.ack_code)
    return row


def _column(text: str, length: int) -> str:
    """Text as a column takes it: PostgreSQL's know no NUL."""
    return text.replace("\0", "")[:length]
