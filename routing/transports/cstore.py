"""C-STORE SCU: from the file, without decoding it, in the transfer syntax it has wherever the peer takes it."""

import queue
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

from django.conf import settings
from pydicom import Dataset, dcmread
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.pdu_primitives import MaximumLengthNotification

from orchestrator.states import DeliveryStatus
from routing.transports.base import Item, Result, TransportError, Unsendable

_config.STORE_SEND_CHUNKED_DATASET = True
# A lost response shows as an empty status after this time (and the time that the object needs on a slow line,
# bytes per second); it means unknown, never sent or failed.
RESPONSE_SECONDS = 30.0
ASSOCIATION_SECONDS = 10.0
SLOWEST_LINE = 250_000
_MOST_CONTEXTS = 128
# PS3.8 9.2: Sta6, association established.
_READY = "Sta6"
_MOST_PDUS = 32
_LARGEST_PDU = 131_072
# A conversion is made in memory.
_LARGEST_CONVERSION = 1 << 29
# Explicit and Implicit VR Little Endian: one is made of the other without touching a pixel.
_CONVERTIBLE = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_REJECTED_PERMANENT = 0x01
# PS3.7 C: failures that pass. 0110 processing failure, 0213 resource limitation.
_PASSING = (0x0110, 0x0213)
# PS3.7 C: warnings besides Bxxx. The object is stored.
_WARNINGS = (0x0001, 0x0107, 0x0116)

Pair = tuple[str, str]


class _Outbox(queue.Queue[Any]):
    """What waits to be written to the peer: a few PDUs, and not the whole object, however large it is.

    pynetdicom's own queue is without bound. Raises queue.Full when the peer takes nothing for a while, or is gone.
    """

    def __init__(self, dul: Any) -> None:
        super().__init__(maxsize=_MOST_PDUS)
        self._dul = dul

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        until = time.monotonic() + RESPONSE_SECONDS
        while True:
            try:
                return super().put(item, timeout=0.1)
            except queue.Full:
                if time.monotonic() > until or self._dul.state_machine.current_state != _READY:
                    self._drop()
                    raise

    def _drop(self) -> None:
        """What was not written never will be: only the A-ABORT that follows."""
        with self.mutex:
            self.queue.clear()


class _Gate:
    """Keeps an association's reactor thread stopped while we send, in place of the event that pynetdicom has for that.

    That thread and `send_c_store` both take from the queue of answers: now and then the thread was faster and dropped
    one, and the call waited its whole time for nothing (pynetdicom's issues 435 and 875).
    """

    def __init__(self, assoc: Any) -> None:
        self._checkpoint = assoc._reactor_checkpoint
        self._checkpoint.clear()
        assoc._is_paused = False
        until = time.monotonic() + 0.1
        while not assoc._is_paused and time.monotonic() < until:
            time.sleep(0.0005)
        assoc._is_paused = True
        assoc._reactor_checkpoint = self

    def set(self) -> None:
        """Called by pynetdicom after each message; the thread goes on only when we `open`."""

    def clear(self) -> None:
        """It is stopped already."""

    def wait(self) -> None:
        self._checkpoint.wait()

    def open(self) -> None:
        """Nothing more is sent: the thread may end."""
        self._checkpoint.set()


def _no_delay(event: evt.Event) -> None:
    """One write per PDU: without this every object waits for the peer's delayed acknowledgement."""
    connection: Any = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _bound(assoc: Any) -> None:
    """Objects are read from their files as the peer takes them, in PDUs that are not as large as they are."""
    assoc.dul.to_provider_queue = _Outbox(assoc.dul)
    for each in assoc.acceptor.user_information:
        if isinstance(each, MaximumLengthNotification) and not 0 < each.maximum_length_received <= _LARGEST_PDU:
            each.maximum_length_received = _LARGEST_PDU


class CStore:
    """Sends to one peer, over one association as long as its presentation contexts suffice."""

    def __init__(self, *, ae_title: str, host: str, port: int) -> None:
        self._peer = (host, port)
        self._ae_title = ae_title
        self._assoc: Any = None
        self._gate: _Gate | None = None
        self._offered: frozenset[Pair] = frozenset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.is_open:
            self._assoc.release()
        if self._gate is not None:
            self._gate.open()
        self._assoc = self._gate = None

    @property
    def is_open(self) -> bool:
        assoc = self._assoc
        return assoc is not None and assoc.is_established and assoc.dul.state_machine.current_state == _READY

    def send(self, items: Iterable[Item]) -> Iterator[Result]:
        for group, pairs in _groups(list(items)):
            accepted = self._associate(pairs)
            for item in group:
                yield self._send_one(item, accepted)

    def _associate(self, pairs: frozenset[Pair]) -> frozenset[Pair]:
        """An association that these were offered on; which of them the peer takes. Raises TransportError."""
        if not self.is_open or not pairs <= self._offered:
            self.__exit__()
            self._assoc, self._offered = self._request(pairs), pairs
            if self._assoc.is_established:
                _bound(self._assoc)
                self._gate = _Gate(self._assoc)
        return frozenset((each.abstract_syntax, each.transfer_syntax[0]) for each in self._assoc.accepted_contexts)

    def _request(self, pairs: frozenset[Pair]) -> Any:
        ae = AE(ae_title=settings.AE_TITLE)
        ae.connection_timeout, ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = (
            5,
            ASSOCIATION_SECONDS,
            RESPONSE_SECONDS,
            60,
        )
        ae.maximum_pdu_size = 0
        contexts = [build_context(sop_class, syntax) for sop_class, syntax in sorted(pairs)]
        try:
            assoc: Any = ae.associate(
                *self._peer, contexts, ae_title=self._ae_title, evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay)]
            )
        # A name that cannot be looked up is an OSError; one that cannot be a name at all a ValueError.
        except (OSError, ValueError) as error:
            raise TransportError("The host's name is not known.") from error
        # A peer that takes none of the contexts has accepted the association all the same: each item is told.
        if not assoc.is_established and not assoc.rejected_contexts:
            permanent = assoc.is_rejected and assoc.acceptor.primitive.result == _REJECTED_PERMANENT
            raise TransportError(_why_not(assoc), permanent=permanent)
        return assoc

    def _send_one(self, item: Item, accepted: frozenset[Pair]) -> Result:
        offered = _syntaxes(item)
        syntax = next((each for each in offered if (item.sop_class_uid, each) in accepted), None)
        if syntax is None:
            return Result(item.key, DeliveryStatus.FAILED, None, _not_taken(item, accepted))
        if not self.is_open:
            return Result(item.key, DeliveryStatus.RETRYING, None, "The association ended before this object.")
        try:
            with item.file() as path:
                self._assoc.dimse_timeout = RESPONSE_SECONDS + path.stat().st_size / SLOWEST_LINE
                # Given a data set and not its file, pynetdicom encodes it in the syntax that was agreed on.
                converted = syntax != item.transfer_syntax_uid
                if converted and path.stat().st_size > _LARGEST_CONVERSION:
                    return Result(item.key, DeliveryStatus.FAILED, None, _not_taken(item, accepted))
                status = self._assoc.send_c_store(dcmread(path) if converted else path)
        except Unsendable as error:
            return Result(item.key, DeliveryStatus.FAILED, None, str(error)[:200])
        except (RuntimeError, ValueError, AttributeError, OSError) as error:
            return Result(item.key, DeliveryStatus.RETRYING, None, f"{type(error).__name__}: {error}"[:200])
        except queue.Full:
            status = Dataset()
        if "Status" not in status:
            # Whatever the peer still says of this object could be taken for the answer to the next one.
            self._assoc.abort()
            return Result(item.key, DeliveryStatus.UNKNOWN, None, "The peer gave no answer.")
        return _result(item.key, int(status.Status), str(status.get("ErrorComment", "")))


def _syntaxes(item: Item) -> tuple[str, ...]:
    """The transfer syntaxes that an item may be sent in, its own first. Compressed pixels are never decoded."""
    own = item.transfer_syntax_uid
    return (own, *(each for each in _CONVERTIBLE if each != own)) if own in _CONVERTIBLE else (own,)


def _groups(items: Sequence[Item]) -> Iterator[tuple[list[Item], frozenset[Pair]]]:
    """The items in portions, each with what must be offered for it: an association has at most 128 contexts."""
    pairs: set[Pair] = set()
    group: list[Item] = []
    for item in sorted(items, key=lambda each: each.sop_class_uid):
        more = {(item.sop_class_uid, each) for each in _syntaxes(item)}
        if len(pairs | more) > _MOST_CONTEXTS:
            yield group, frozenset(pairs)
            pairs, group = set(), []
        pairs |= more
        group.append(item)
    if group:
        yield group, frozenset(pairs)


def _not_taken(item: Item, accepted: frozenset[Pair]) -> str:
    if any(sop_class == item.sop_class_uid for sop_class, _ in accepted):
        return f"The peer does not take transfer syntax {item.transfer_syntax_uid} for this object."
    return f"The peer does not take SOP class {item.sop_class_uid}."


def _result(key: int, status: int, comment: str) -> Result:
    """A C-STORE status (PS3.4 B.2.3, PS3.7 C) as an outcome."""
    text = f"status {status:04X}{f': {comment}' if comment else ''}"[:200]
    if status == 0x0000:
        return Result(key, DeliveryStatus.SENT, status)
    if status & 0xF000 == 0xB000 or status in _WARNINGS:
        return Result(key, DeliveryStatus.SENT, status, text)
    if status & 0xFF00 == 0xA700 or status & 0xF000 == 0xC000 or status in _PASSING:
        return Result(key, DeliveryStatus.RETRYING, status, text)
    return Result(key, DeliveryStatus.FAILED, status, text)


def _why_not(assoc: Any) -> str:
    if assoc.is_rejected:
        answer = assoc.acceptor.primitive
        return f"The peer rejected the association: {answer.reason_str}."
    return "The peer could not be reached, or ended the association at once."
