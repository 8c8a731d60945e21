"""One association as its requestor sees it (PS3.8 9.2): offered, used for one C-STORE after the other, ended."""

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from orchestrator.dimse import negotiation, wire
from orchestrator.dimse.assembly import (
    IS_COMMAND,
    IS_LAST,
    MAXIMUM_COMMAND_LENGTH,
    Unacceptable,
    fragmented,
    fragments,
    room_in,
    values,
)
from orchestrator.dimse.commands import Answer, NoCommand, read_answer, write_store_request
from orchestrator.dimse.negotiation import Malformed
from orchestrator.dimse.wire import Broken, Ended, Wire

Pair = tuple[str, str]
"""Abstract syntax and transfer syntax."""

# PS3.8 9.3.2.2: their ids are odd and of one byte.
MOST_CONTEXTS = 128
CONNECT_SECONDS = 5.0
_RELEASE_SECONDS = 5.0
# The longest PDU, and what is written at once: a slow peer must take so much before it is given up.
_PORTION = 1 << 17
_LARGEST_MESSAGE_ID = 0xFFFF
_BY_USER = (0, 0)


class Unreachable(Exception):
    """The peer could not be called, or ended the association before it was one."""


class UnknownHost(Unreachable):
    """The host's name cannot be looked up."""


class Rejected(Exception):
    """A-ASSOCIATE-RJ (PS3.8 9.3.4); the text is its reason. `permanent`: trying again cannot help."""

    def __init__(self, text: str, *, permanent: bool) -> None:
        super().__init__(text)
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """An object as it is sent: its data set follows in `file`, from where that stands to its end."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    file: BinaryIO


class Requestor:
    """An association that is established when it is made, and over when it is used no more: `release` or `abort`.

    Raises Unreachable, UnknownHost, Rejected.
    """

    def __init__(
        self, address: tuple[str, int], *, called: str, calling: str, pairs: Sequence[Pair], seconds: float
    ) -> None:
        self._offered = {2 * number + 1: pair for number, pair in enumerate(pairs)}
        proposal = negotiation.proposal(called=called, calling=calling, contexts=self._offered)
        try:
            connection = socket.create_connection(address, timeout=CONNECT_SECONDS)
        # One that cannot be a name at all is a ValueError.
        except (socket.gaierror, ValueError) as error:
            raise UnknownHost from error
        except OSError as error:
            raise Unreachable(str(error)) from error
        self._wire = Wire(connection)
        self._message_id = 0
        self.is_open = True
        try:
            # Without this every object waits for the peer's delayed acknowledgement.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._wire.send(proposal)
            accepted, self._maximum_length = self._answer_to_proposal(seconds)
        except (TimeoutError, Broken, Ended, Malformed) as error:
            self.abort()
            raise Unreachable(str(error)) from error
        except BaseException:
            self._close()
            raise
        # One that is answered with a transfer syntax that was not offered could only be misunderstood.
        self._context_ids = {pair: key for key, pair in self._offered.items() if accepted.get(key) in (pair[1], "")}
        # What may be sent.
        self.accepted = frozenset(self._context_ids)

    def _answer_to_proposal(self, seconds: float) -> tuple[Mapping[int, str], int]:
        """The contexts that the peer takes and the longest PDU; a peer that takes none has accepted all the same."""
        kind, body = self._wire.first_pdu(seconds, None)
        if kind == wire.ASSOCIATE_RJ:
            raise Rejected(negotiation.why_rejected(bytes(body)), permanent=body[1:2] == b"\x01")
        if kind != wire.ASSOCIATE_AC:
            raise Malformed("no answer to an A-ASSOCIATE-RQ")
        return negotiation.read_acceptance(bytes(body))

    @property
    def is_alive(self) -> bool:
        """Whether the peer still listens, as far as can be known: while nothing is asked it has nothing to say."""
        if self.is_open and self._wire.has_pdu:
            self._hear_the_end()
        return self.is_open

    def _hear_the_end(self) -> None:
        """The peer has gone, or says what only ends the association."""
        try:
            kind, _ = self._wire.pdu(0)
        except (TimeoutError, Broken, Ended):
            kind = wire.ABORT
        self._end_with(kind)

    def _end_with(self, kind: int) -> None:
        """End the association as PS3.8 table 9-10 asks for after such a PDU."""
        if kind == wire.RELEASE_RQ:
            with contextlib.suppress(Ended):
                self._wire.answer_release()
            self._close()
        elif kind == wire.ABORT:
            self._close()
        else:
            self.abort()

    def store(self, request: StoreRequest, *, seconds: float, stall_seconds: float) -> Answer | None:
        """C-STORE (PS3.7 9.1.1). None: the peer gave no answer, and what became of the object is unknown.

        `seconds`: for the answer, when all is sent; `stall_seconds`: for each 128 KiB that the peer takes before.
        Whatever a silent peer still said could be taken for the answer to the next request: the association is over.
        Raises OSError when the file cannot be read.
        """
        self._message_id = self._message_id % _LARGEST_MESSAGE_ID + 1
        context_id = self._context_ids[request.sop_class_uid, request.transfer_syntax_uid]
        command = write_store_request(
            self._message_id, sop_class_uid=request.sop_class_uid, sop_instance_uid=request.sop_instance_uid
        )
        try:
            for portion in portions(context_id, command, request.file, self._maximum_length):
                self._wire.send(portion, stall_seconds)
            return self._answer(seconds)
        except (TimeoutError, Broken, Ended, Unacceptable, NoCommand):
            self.abort()
            return None
        except OSError:
            # Our own file, in the middle of a message.
            self.abort()
            raise

    def _answer(self, seconds: float) -> Answer:
        until, command = time.monotonic() + seconds, bytearray()
        while True:
            kind, body = self._wire.pdu_until(until)
            if kind != wire.P_DATA:
                self._end_with(kind)
                raise Ended("the peer ended the association")
            for _, control, fragment in values(body):
                if not control & IS_COMMAND:
                    raise Unacceptable("a data set that nobody asked for")
                command += fragment
                if len(command) > MAXIMUM_COMMAND_LENGTH:
                    raise Unacceptable("a command set without end")
                if control & IS_LAST:
                    answer = read_answer(bytes(command))
                    if answer.responded_to != self._message_id:
                        raise Unacceptable("an answer to another request")
                    return answer

    def release(self) -> None:
        """A-RELEASE (PS3.8 7.2), as far as the peer still listens."""
        if self.is_open:
            with contextlib.suppress(TimeoutError, Broken, Ended):
                self._wire.request_release()
                self._wire.pdu(_RELEASE_SECONDS)
            self._close()

    def abort(self) -> None:
        """A-ABORT (PS3.8 7.3)."""
        if self.is_open:
            self._wire.abort(*_BY_USER)
            self._close()

    def _close(self) -> None:
        self.is_open = False
        self._wire.close()


def portions(context_id: int, command: bytes, file: BinaryIO, maximum: int) -> Iterator[bytes]:
    """A message's PDUs, for a peer that takes such long ones (0: any), with the rest of `file` as its data set.

    What is small comes in one piece, what is large without ever being in memory.
    """
    longest = min(maximum or _PORTION, _PORTION)
    room = room_in(longest)
    at_once = _PORTION // room * room
    ready = fragmented(context_id, command, b"", longest)
    data = file.read(at_once)
    while data:
        # Read ahead: the last fragment says that it is the last.
        more = file.read(at_once)
        yield ready + b"".join(fragments(context_id, data, 0, room, is_last=not more))
        ready, data = b"", more
