"""pynetdicom's acceptor made fit for many callers, hostile ones among them: it waits for events and has limits.

As it comes, two threads per association look for work every millisecond (20 idle associations cost half a core), each
new association copies every supported context (50 ms), and a caller decides how much memory a PDU or a message takes.
"""

import contextlib
import logging
import queue
import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler

logger = logging.getLogger(__name__)

# Announced at negotiation (PS3.8 D.1); who sends longer PDUs does not keep to it.
MAXIMUM_PDU_LENGTH = 1 << 20
# Everything but a stored object is held in memory: command sets, identifiers, performed steps.
MAXIMUM_MESSAGE_LENGTH = 16 << 20
# Requests that a peer may send without waiting for answers; it may send one (PS3.7 D.3.3.3), and some do not count.
MAXIMUM_REQUESTS_AHEAD = 64
_ANSWERS_AHEAD = 16
# How soon a thread that nobody has woken looks at its timers.
_NAP_SECONDS = 1.0


class _Bell:
    """Wakes a thread that waits in poll()."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        # A descriptor that is closed while somebody rings may belong to another connection a moment later.
        self._lock = threading.Lock()

    def fileno(self) -> int:
        return self._reader.fileno()

    def ring(self) -> None:
        # When the buffer is full it rings already; when it is closed nobody waits.
        with self._lock, contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def hush(self) -> None:
        with contextlib.suppress(OSError):
            self._reader.recv(4096)

    def close(self) -> None:
        with self._lock:
            self._writer.close()
            self._reader.close()


class _ToldQueue(queue.Queue[Any]):
    """A queue that says when something came."""

    def __init__(self, tell: Callable[[], None], maximum: int = 0) -> None:
        super().__init__(maximum)
        self._tell = tell

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._tell()


class _Outbox(_ToldQueue):
    """What is to be sent: a handler that is faster than its peer waits here, so that a C-CANCEL still finds it busy."""

    def __init__(self, tell: Callable[[], None], sender: threading.Thread) -> None:
        super().__init__(tell, _ANSWERS_AHEAD)
        self._sender = sender

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        while self._sender.is_alive():
            with contextlib.suppress(queue.Full):
                super().put(item, timeout=_NAP_SECONDS)
                return


class _Connection(AssociationSocket):
    """The association's socket: the upper layer's thread waits here, for the peer or for something to send."""

    def __init__(self, assoc: Association, client_socket: socket.socket) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self.bell = _Bell()
        self.send_next: Callable[[], bool] = lambda: False

    @property
    def ready(self) -> bool:
        """Whether the peer sent something; False at last after a nap."""
        connection, dul = self.socket, self.assoc.dul
        if connection is None or not self._is_connected:
            return False
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return True
        # Nothing is sent in Sta13; it asks whether more is there and otherwise closes.
        is_closing = dul.state_machine.current_state == "Sta13"
        may_wait = dul.event_queue.empty() and dul.to_provider_queue.empty() and not is_closing
        try:
            waiting = select.poll()
            waiting.register(connection, select.POLLIN)
            waiting.register(self.bell, select.POLLIN)
            woken = {descriptor for descriptor, _ in waiting.poll(_NAP_SECONDS * 1000 * may_wait)}
            readable = connection.fileno() in woken
        except (OSError, ValueError):
            dul.event_queue.put("Evt17")
            return False
        if self.bell.fileno() in woken:
            self.bell.hush()
        if not readable and not is_closing:
            # What there is to send is sent in this round and not after the loop's next sleep.
            self.send_next()
        return readable

    def recv(self, nr_bytes: int) -> bytearray:
        if nr_bytes > MAXIMUM_PDU_LENGTH:
            # As a lost connection: what follows is one line of the listener, whatever the bytes were.
            raise OSError("PDU too long")
        if self.socket is None:
            raise OSError("closed")
        received = bytearray(nr_bytes)
        view, length = memoryview(received), 0
        while length < nr_bytes:
            count = self.socket.recv_into(view[length:])
            if not count:
                return received[:length]
            length += count
        return received

    def close(self) -> None:
        super().close()
        self.bell.close()


class _Checkpoint(threading.Event):
    """Where the association's thread passes in each round: it waits here until there is something to do."""

    def __init__(self, has_work: Callable[[], bool]) -> None:
        super().__init__()
        self._has_work = has_work
        self.news = threading.Event()
        super().set()

    def set(self) -> None:
        super().set()
        self.news.set()

    def wait(self, timeout: float | None = None) -> bool:
        self.news.clear()
        if not self._has_work():
            self.news.wait(_NAP_SECONDS)
        return super().wait(timeout)


class _Messages(DIMSEServiceProvider):
    """Puts messages together, within limits; what is none ends the association and not its thread."""

    def receive_primitive(self, primitive: P_DATA) -> None:
        try:
            super().receive_primitive(primitive)
        except Exception:
            self._refuse("something that is no DIMSE message")
            return
        message: Any = self.message
        if message and message.data_set.tell() + message.encoded_command_set.tell() > MAXIMUM_MESSAGE_LENGTH:
            self._refuse(f"a message of more than {MAXIMUM_MESSAGE_LENGTH} bytes")
            self.message = None
        elif self.msg_queue.qsize() > MAXIMUM_REQUESTS_AHEAD:
            self._refuse("requests without waiting for answers")

    def _refuse(self, what: str) -> None:
        requestor = self.assoc.requestor
        logger.warning("%s at %s sent %s: the association is aborted", requestor.ae_title, requestor.address, what)
        # Evt19: invalid PDU, answered with A-ABORT (PS3.8 9.2).
        self.dul.event_queue.put("Evt19")


class AssociationHandler(RequestHandler):
    """Makes the association of a new connection."""

    def _create_association(self) -> Association:
        assoc = super()._create_association()
        dul = assoc.dul
        # The plain socket has said Evt5 (connected); ours says it again.
        dul.event_queue.get_nowait()
        connection = _Connection(assoc, self.request)
        dul.socket = connection
        dul.to_provider_queue = _Outbox(connection.bell.ring, dul)
        # The loop would send first and read when there is nothing to send: a C-CANCEL would wait for the last answer.
        connection.send_next = dul._process_recv_primitive
        dul._process_recv_primitive = lambda: False  # type: ignore[method-assign]
        assoc.dimse = _Messages(assoc)
        checkpoint = _Checkpoint(
            lambda: assoc._kill or not (dul.to_user_queue.empty() and assoc.dimse.msg_queue.empty())
        )
        assoc._reactor_checkpoint = checkpoint
        dul.to_user_queue = _ToldQueue(checkpoint.news.set)
        assoc.dimse.msg_queue = _ToldQueue(checkpoint.news.set)
        return assoc


def let_go(assoc: Any) -> None:
    """The connection is closed: whoever still waits for its first word waits no longer."""
    assoc.dul.socket.bell.close()
    if assoc.requestor.primitive is None:
        # As if its time were over. Otherwise each passing scanner holds one of the associations for `acse_timeout`.
        assoc.dul.to_user_queue.put(None)
