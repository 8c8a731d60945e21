"""PDUs in, whole DIMSE messages out (PS3.7 6.3, PS3.8 annex E), within limits; and the other way round."""

import contextlib
import struct
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache

from orchestrator.dimse.arriving import ArrivingObject
from orchestrator.dimse.commands import Command, NoCommand, read_command
from orchestrator.dimse.negotiation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, MAXIMUM_PDU_LENGTH
from orchestrator.dimse.wire import P_DATA

# Everything but a stored object is held in memory: command sets, identifiers, performed steps.
MAXIMUM_MESSAGE_LENGTH = 16 << 20
MAXIMUM_COMMAND_LENGTH = 64 << 10
IS_COMMAND, IS_LAST = 0x01, 0x02
_STORE = "C-STORE"


class Unacceptable(Exception):
    """What came is no message, or too much of one; the text continues "… sent"."""


class Message:
    """A request: its command and its data set, in memory or (C-STORE) in a file."""

    def __init__(self, context_id: int, command: Command) -> None:
        self.context_id, self.command = context_id, command
        self.dataset = bytearray()
        self.object: ArrivingObject | None = None

    def drop(self) -> None:
        """Nobody wants its file (any more): who accepted the object has put it elsewhere."""
        if self.object is not None:
            self.object.close()
            with contextlib.suppress(OSError):
                self.object.path.unlink(missing_ok=True)


class Assembler:
    """Puts the messages of one association together."""

    def __init__(self, transfer_syntax_of: Callable[[int], str | None]) -> None:
        self._transfer_syntax_of = transfer_syntax_of
        self._command = bytearray()
        self._message: Message | None = None
        self.complete: deque[Message] = deque()

    def feed(self, pdu: bytes | bytearray) -> None:
        """One P-DATA-TF, without its header. Raises Unacceptable."""
        for context_id, control, fragment in values(pdu):
            if bool(control & IS_COMMAND) == (self._message is not None):
                raise Unacceptable("something that is no DIMSE message")
            if self._message is None:
                self._take_command(context_id, fragment, bool(control & IS_LAST))
            elif self._message.context_id != context_id:
                raise Unacceptable("something that is no DIMSE message")
            else:
                self._take_data(self._message, fragment, bool(control & IS_LAST))

    def _take_command(self, context_id: int, fragment: memoryview, is_last: bool) -> None:
        self._command += fragment
        _check_length(self._command, MAXIMUM_COMMAND_LENGTH)
        syntax = self._transfer_syntax_of(context_id)
        if not is_last:
            return
        try:
            command = read_command(bytes(self._command))
        except NoCommand as error:
            raise Unacceptable("something that is no DIMSE message") from error
        if syntax is None:
            raise Unacceptable("a message in a presentation context that was not accepted")
        self._command.clear()
        message = Message(context_id, command)
        if not command.has_data_set:
            self.complete.append(message)
            return
        if command.name == _STORE:
            message.object = ArrivingObject(_file_meta(command.sop_class_uid, command.sop_instance_uid, syntax))
        self._message = message

    def _take_data(self, message: Message, fragment: memoryview, is_last: bool) -> None:
        if message.object is not None:
            message.object.write(fragment)
        else:
            message.dataset += fragment
            _check_length(message.dataset, MAXIMUM_MESSAGE_LENGTH)
        if is_last:
            if message.object is not None:
                message.object.close()
            self.complete.append(message)
            self._message = None

    @property
    def is_in_a_message(self) -> bool:
        """Whether a message has begun that has not ended."""
        return self._message is not None or bool(self._command)

    def drop(self) -> None:
        """An object that broke off in the middle was never answered: its sender sends it again."""
        for message in (*self.complete, self._message):
            if message is not None:
                message.drop()


def _check_length(held: bytearray, most: int) -> None:
    if len(held) > most:
        raise Unacceptable(f"a message of more than {most} bytes")


def values(pdu: bytes | bytearray) -> Iterator[tuple[int, int, memoryview]]:
    """(context id, control header, fragment) of each presentation data value (PS3.8 9.3.5.1)."""
    view, at = memoryview(pdu), 0
    while at < len(pdu):
        if at + 6 > len(pdu):
            raise Unacceptable("half a presentation data value")
        length, context_id, control = struct.unpack_from(">IBB", pdu, at)
        end = at + 4 + length
        if length < 2 or end > len(pdu):
            raise Unacceptable("a presentation data value of a wrong length")
        yield context_id, control, view[at + 6 : end]
        at = end


def fragmented(context_id: int, command: bytes, dataset: bytes, maximum: int) -> bytes:
    """A message as P-DATA-TF PDUs that the peer takes (0: of any length), to be written at once."""
    room = room_in(maximum)
    return b"".join([*fragments(context_id, command, IS_COMMAND, room), *fragments(context_id, dataset, 0, room)])


def room_in(maximum: int) -> int:
    """How long a fragment may be in PDUs of at most so many bytes (0: any); of even length (PS3.8 E.2)."""
    return min(maximum or MAXIMUM_PDU_LENGTH, MAXIMUM_PDU_LENGTH) - 6 & ~1


def fragments(context_id: int, data: bytes, kind: int, room: int, *, is_last: bool = True) -> Iterator[bytes]:
    """Heads and fragments of PDUs with one presentation data value each; whether the message's part ends with them."""
    for start in range(0, len(data), room):
        fragment = data[start : start + room]
        last = IS_LAST if is_last and start + room >= len(data) else 0
        size = len(fragment) + 2
        yield struct.pack(">BxIIBB", P_DATA, size + 4, size, context_id, kind | last)
        yield fragment


def _file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble, prefix and File Meta Information of a received object (PS3.10 7.1)."""
    before, after = _constant_meta(sop_class_uid, transfer_syntax_uid)
    body = before + _meta(0x0003, b"UI", _padded(sop_instance_uid)) + after
    return bytes(128) + b"DICM" + _meta(0x0000, b"UL", struct.pack("<I", len(body))) + body


@lru_cache(256)
def _constant_meta(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    version = struct.pack("<HH2sxxI", 2, 0x0001, b"OB", 2) + b"\0\1"
    after = _meta(0x0010, b"UI", _padded(transfer_syntax_uid)) + _meta(0x0012, b"UI", _padded(IMPLEMENTATION_CLASS_UID))
    name = IMPLEMENTATION_VERSION_NAME.encode()
    return version + _meta(0x0002, b"UI", _padded(sop_class_uid)), after + _meta(0x0013, b"SH", name)


def _meta(element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def _padded(uid: str) -> bytes:
    return uid.encode("ascii", "replace") + b"\0" * (len(uid) % 2)
