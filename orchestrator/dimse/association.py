"""One association as its acceptor sees it (PS3.8 9.2): negotiated, served message by message, ended.

One thread does all of it, so that a request costs no hand-over between threads and no queue: while its handler works,
nothing is read but a C-CANCEL. What handlers take and give are plain things (messages.py).
"""

import logging
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterable

from orchestrator.dimse import negotiation, wire
from orchestrator.dimse.assembly import Assembler, Message, Unacceptable, fragmented
from orchestrator.dimse.callers import Caller
from orchestrator.dimse.commands import write_response
from orchestrator.dimse.messages import Peer, Request, Response
from orchestrator.dimse.negotiation import AssociateRequest, Context, Malformed
from orchestrator.dimse.wire import Broken, Ended, Wire

logger = logging.getLogger(__name__)

# For the handshake and the first word together, and between messages.
ASSOCIATE_SECONDS, IDLE_SECONDS = 30.0, 120.0
# Answers that are ready are written together, up to so much, unless the next one lets wait for it.
_WRITE_BYTES, _WRITE_SECONDS = 65536, 0.2
_CANCEL = "C-CANCEL"
# A-ASSOCIATE-RJ (PS3.8 9.3.4): result, source, reason.
APPLICATION_CONTEXT_NOT_SUPPORTED = (1, 1, 2)
CALLING_AE_NOT_RECOGNISED, CALLED_AE_NOT_RECOGNISED = (1, 1, 3), (1, 1, 7)
PROTOCOL_VERSION_NOT_SUPPORTED = (1, 2, 2)
TEMPORARY_CONGESTION, LOCAL_LIMIT_EXCEEDED = (2, 3, 1), (2, 3, 2)
# A-ABORT (PS3.8 9.3.8): source, reason.
_BY_USER, _UNEXPECTED_PDU, _INVALID_VALUE = (0, 0), (2, 2), (2, 6)
_BY_PROVIDER = 2
# PS3.7 annex C; also of a class in the presentation context of another.
_SOP_CLASS_NOT_SUPPORTED = 0x0122


class Rejected(Exception):
    """The caller is not let in, for this reason."""

    def __init__(self, why: tuple[int, int, int]) -> None:
        super().__init__(why)
        self.why = why


class _Released(Exception):
    """The peer has released the association."""


class _Aborted(Exception):
    """The association ends at once; what is to be told to the peer, if it did not do it itself."""

    def __init__(self, tell: tuple[int, int] | None = None) -> None:
        super().__init__(tell)
        self.tell = tell


Admit = Callable[[AssociateRequest, str], Caller]
Respond = Callable[[Request], Iterable[Response]]


class Association:
    """A connection; `run` serves it until it ends."""

    def __init__(
        self, connection: socket.socket, address: str, *, tls: ssl.SSLContext | None, admit: Admit, respond: Respond
    ) -> None:
        self._wire = Wire(connection)
        self._address = address
        self._tls = tls
        self._admit, self._respond = admit, respond
        self._contexts: dict[int, Context] = {}
        self._assembler = Assembler(self._transfer_syntax_of)
        self._serving: int | None = None
        self._cancelled: set[int] = set()
        self._end: Exception | None = None
        self._maximum_length = 0
        self._stopping = threading.Event()
        self._is_busy = False
        self.peer: Peer | None = None

    def run(self) -> None:
        """Raises nothing that a peer can bring about."""
        try:
            self._establish()
            self._converse()
        except _Released:
            pass
        except Rejected as rejected:
            self._say_last(negotiation.rejection(*rejected.why))
        except _Aborted as aborted:
            if aborted.tell is not None:
                self._wire.abort(*aborted.tell)
            self._log_end()
        except Ended:
            self._log_end()
            if self._stopping.is_set():
                self._wire.abort(*_BY_USER)
        finally:
            self._assembler.drop()
            self._wire.hang_up()

    def stop(self) -> None:
        """End it as soon as no request is being read or answered; for another thread."""
        self._stopping.set()
        if not self._is_busy:
            self._wire.stop_reading()

    def _say_last(self, pdu: bytes) -> None:
        try:
            self._wire.send(pdu)
        except Ended:
            logger.info("The caller at %s was gone before its answer", self._address)

    def _log_end(self) -> None:
        if self._stopping.is_set():
            return
        if self.peer is not None:
            logger.warning("An association of %s at %s was aborted", self.peer.ae_title, self._address)
        else:
            # A scan, a browser, another protocol, or a caller that gave up.
            logger.warning("A connection from %s ended without a DICOM association", self._address)

    # --- establishment ----------------------------------------------------------------------------------

    def _establish(self) -> None:
        try:
            kind, body = self._wire.first_pdu(ASSOCIATE_SECONDS, self._tls)
        except Broken as error:
            raise _Aborted((_BY_PROVIDER, error.reason)) from error
        if kind != wire.ASSOCIATE_RQ:
            raise _Aborted(_BY_USER)
        try:
            request = negotiation.read_request(bytes(body))
        except Malformed as error:
            raise _Aborted(_INVALID_VALUE) from error
        if not request.protocol_version & 1:
            raise Rejected(PROTOCOL_VERSION_NOT_SUPPORTED)
        if request.application_context != negotiation.APPLICATION_CONTEXT:
            raise Rejected(APPLICATION_CONTEXT_NOT_SUPPORTED)
        caller = self._admit(request, self._address)
        contexts = negotiation.negotiated(request)
        self._contexts = {each.context_id: each for each in contexts if each.is_accepted}
        self._maximum_length = request.maximum_length
        self.peer = Peer(
            ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
            address=self._address,
            association_id=uuid.uuid4().hex,
            application_entity_id=caller.application_entity_id,
            site_id=caller.site_id,
            default_character_set=caller.default_character_set,
        )
        self._wire.send(negotiation.acceptance(request, contexts))

    def _transfer_syntax_of(self, context_id: int) -> str | None:
        context = self._contexts.get(context_id)
        return context.transfer_syntax if context else None

    # --- data transfer ----------------------------------------------------------------------------------

    def _converse(self) -> None:
        while True:
            self._serve(self._next())

    def _next(self) -> Message:
        """The next request. Raises what ends the association."""
        waiting = self._assembler.complete
        while not waiting:
            if self._end is not None:
                raise self._end
            self._take_pdu()
        return waiting.popleft()

    def _take_pdu(self) -> None:
        """Read a PDU and do what it means (PS3.8 table 9-10, Sta6)."""
        kind, body = self._read(IDLE_SECONDS)
        if kind == wire.P_DATA:
            try:
                self._assembler.feed(body)
            except Unacceptable as problem:
                logger.warning("%s at %s sent %s: the association is aborted", self._title, self._address, problem)
                raise _Aborted(_INVALID_VALUE) from problem
            self._note_cancels()
        elif kind == wire.RELEASE_RQ:
            self._wire.answer_release()
            raise _Released
        else:
            raise _Aborted(None if kind == wire.ABORT else _UNEXPECTED_PDU)

    def _read(self, seconds: float) -> tuple[int, bytes | bytearray]:
        self._is_busy = self._assembler.is_in_a_message
        if self._stopping.is_set() and not self._is_busy:
            raise _Aborted(_BY_USER)
        try:
            return self._wire.pdu(seconds)
        except TimeoutError as error:
            raise _Aborted(_BY_USER) from error
        except Broken as error:
            raise _Aborted((_BY_PROVIDER, error.reason)) from error
        finally:
            self._is_busy = True

    def _note_cancels(self) -> None:
        """A C-CANCEL is heard at once, whatever waits; for a request that is answered already it means nothing."""
        waiting = self._assembler.complete
        known = {self._serving}
        for message in list(waiting):
            if message.command.name != _CANCEL:
                known.add(message.command.message_id)
                continue
            waiting.remove(message)
            if message.command.responded_to in known:
                self._cancelled.add(message.command.responded_to)

    @property
    def _title(self) -> str:
        return self.peer.ae_title if self.peer else ""

    # --- requests ---------------------------------------------------------------------------------------

    def _serve(self, message: Message) -> None:
        assert self.peer is not None  # noqa: S101  established; for the type checker
        command = message.command
        self._serving = command.message_id
        context = self._contexts[message.context_id]
        request = Request(
            peer=self.peer,
            command=command.name,
            sop_class_uid=command.sop_class_uid,
            message_id=command.message_id,
            sop_instance_uid=command.sop_instance_uid,
            transfer_syntax_uid=context.transfer_syntax,
            dataset=bytes(message.dataset),
            type_id=command.type_id,
            attribute_identifiers=command.attribute_identifiers,
            path=message.object.path if message.object else None,
            is_cancelled=lambda: self._is_cancelled(command.message_id),
        )
        is_here = command.sop_class_uid == context.abstract_syntax
        responses = self._respond(request) if is_here else [Response(_SOP_CLASS_NOT_SUPPORTED)]
        ready = bytearray()
        due = time.monotonic() + _WRITE_SECONDS
        try:
            for response in responses:
                said = write_response(command, response)
                ready += fragmented(message.context_id, said, response.dataset, self._maximum_length)
                if len(ready) >= _WRITE_BYTES or time.monotonic() >= due:
                    self._send(ready)
                    due = time.monotonic() + _WRITE_SECONDS
        finally:
            message.drop()
        self._send(ready)
        self._serving = None
        self._cancelled.discard(command.message_id)

    def _send(self, ready: bytearray) -> None:
        """A peer that has gone is noticed when its next request is read: handlers always run to their end."""
        if self._end is None:
            try:
                self._wire.send(ready)
            except Ended as end:
                self._end = end
        ready.clear()

    def _is_cancelled(self, message_id: int) -> bool:
        """Whether the peer has sent a C-CANCEL, or cannot be answered any more."""
        try:
            while self._end is None and not self._assembler.complete and self._wire.has_pdu:
                self._take_pdu()
        except (Ended, _Aborted, _Released) as end:
            self._end = end
        return self._end is not None or message_id in self._cancelled
