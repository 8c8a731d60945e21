"""A connection that carries PDUs (PS3.8 9.3), with limits to what its peer may cost: memory, and time."""

import contextlib
import select
import socket
import ssl
import struct
import time

from orchestrator.dimse.negotiation import MAXIMUM_PDU_LENGTH

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ = 0x01, 0x02, 0x03
P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 0x04, 0x05, 0x06, 0x07
_PDU_TYPES = range(0x01, 0x08)
_NOT_SPECIFIED, _UNRECOGNISED_PDU, _INVALID_VALUE = 0, 1, 6
# How long a peer may stall in the middle of a PDU, of ours or its own.
STALL_SECONDS = 60.0
# How long we listen for the peer's close after our last word, so that it can read that (PS3.8 9.1.5, ARTIM).
_LAST_WORD_SECONDS = 2.0
_READ = 65536
_HEAD = struct.Struct(">BxI")


class Ended(Exception):
    """The peer has gone, or stalls: nothing more can be said."""


class Broken(Exception):
    """What came is no PDU that can be read; for what reason, in the words of A-ABORT (PS3.8 table 9-26)."""

    def __init__(self, reason: int, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


class Wire:
    """Reads and writes PDUs."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer, self._at = b"", 0
        self._until: float | None = None

    def first_pdu(self, seconds: float, tls: ssl.SSLContext | None) -> tuple[int, bytes | bytearray]:
        """The first PDU, whole within so many seconds (ARTIM, PS3.8 9.1.5), with TLS where it is asked for.

        Raises Ended and Broken.
        """
        until = time.monotonic() + seconds
        self._connection.settimeout(seconds)
        try:
            if tls is not None:
                # A caller that is gone is seen here; wrap_socket would lose the socket.
                self._connection.getpeername()
                wrapped = tls.wrap_socket(self._connection, server_side=True, do_handshake_on_connect=False)
                self._connection = wrapped
                wrapped.do_handshake()
            return self.pdu_until(until)
        except OSError as error:
            raise Ended(str(error)) from error

    def pdu_until(self, moment: float) -> tuple[int, bytes | bytearray]:
        """The next PDU, whole by this moment of the monotonic clock. Raises TimeoutError, Ended and Broken."""
        self._until = moment
        try:
            return self.pdu(moment - time.monotonic())
        finally:
            self._until = None
            self._connection.settimeout(STALL_SECONDS)

    def pdu(self, seconds: float) -> tuple[int, bytes | bytearray]:
        """The next PDU, which begins within so many seconds: its type and what is in it.

        Raises TimeoutError when none begins, Ended when the connection ends, and Broken.
        """
        if self._at == len(self._buffer):
            self._wait(seconds)
        try:
            kind, length = _HEAD.unpack(self._exactly(_HEAD.size))
            if kind not in _PDU_TYPES:
                raise Broken(_UNRECOGNISED_PDU, f"PDU type {kind:02X}")
            if length > MAXIMUM_PDU_LENGTH:
                raise Broken(_INVALID_VALUE, f"a PDU of {length} bytes")
            return kind, self._exactly(length)
        except TimeoutError as error:
            if self._until is not None:
                raise
            raise Broken(_NOT_SPECIFIED, "half a PDU") from error
        except OSError as error:
            raise Ended(str(error)) from error

    def _wait(self, seconds: float) -> None:
        self._be_patient(seconds)
        try:
            received = self._connection.recv(_READ)
        except TimeoutError:
            raise
        except OSError as error:
            raise Ended(str(error)) from error
        if not received:
            raise Ended("the peer closed the connection")
        self._buffer, self._at = received, 0
        self._connection.settimeout(STALL_SECONDS)

    def _be_patient(self, seconds: float) -> None:
        """Wait so long for what comes next, and for the first PDU not beyond its time."""
        if self._until is not None:
            seconds = min(seconds, self._until - time.monotonic())
            if seconds <= 0:
                raise TimeoutError
        self._connection.settimeout(seconds)

    def _exactly(self, count: int) -> bytes | bytearray:
        start, end = self._at, self._at + count
        if end <= len(self._buffer):
            self._at = end
            return self._buffer[start:end]
        received = bytearray(count)
        view, filled = memoryview(received), len(self._buffer) - start
        view[:filled] = self._buffer[start:]
        self._buffer, self._at = b"", 0
        while filled < count:
            if self._until is not None:
                self._be_patient(STALL_SECONDS)
            if count - filled >= _READ:
                # Much: straight to its place.
                more = self._connection.recv_into(view[filled:])
            else:
                self._buffer = self._connection.recv(_READ)
                more = self._at = min(len(self._buffer), count - filled)
                view[filled : filled + more] = self._buffer[:more]
            if not more:
                raise Ended("the peer closed the connection")
            filled += more
        return received

    @property
    def has_pdu(self) -> bool:
        """Whether `pdu` has something to tell at once: takes in what came, and waits for nothing."""
        while not self._holds_pdu and self._can_read:
            self._connection.settimeout(0)
            try:
                received = self._connection.recv(_READ)
            except (BlockingIOError, ssl.SSLWantReadError):
                # The rest of a TLS record is on its way.
                return False
            except OSError:
                received = b""
            finally:
                self._connection.settimeout(STALL_SECONDS)
            if not received:
                # The end: `pdu` comes to it as well.
                return True
            self._buffer, self._at = self._buffer[self._at :] + received, 0
        return self._holds_pdu

    @property
    def _holds_pdu(self) -> bool:
        """Whether the next PDU, or enough of it to see that it is broken, was taken in."""
        held = len(self._buffer) - self._at - _HEAD.size
        if held < 0:
            return False
        kind, length = _HEAD.unpack_from(self._buffer, self._at)
        return length <= held or length > MAXIMUM_PDU_LENGTH or kind not in _PDU_TYPES

    @property
    def _can_read(self) -> bool:
        if isinstance(self._connection, ssl.SSLSocket) and self._connection.pending():
            return True
        looking = select.poll()
        looking.register(self._connection, select.POLLIN)
        return bool(looking.poll(0))

    def send(self, pdus: bytes | bytearray, seconds: float = STALL_SECONDS) -> None:
        """Write at once what belongs together; the peer takes it within so many seconds. Raises Ended."""
        try:
            self._connection.settimeout(seconds)
            self._connection.sendall(pdus)
        except OSError as error:
            raise Ended(str(error)) from error

    def stop_reading(self) -> None:
        """Another thread wants it to end: whoever waits for the peer hears that it ended."""
        # Of the socket below TLS: SSLSocket.shutdown would end the encryption, and our last word go in clear.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._connection, socket.SHUT_RD)

    def abort(self, source: int, reason: int) -> None:
        """A-ABORT (PS3.8 9.3.8), as far as the peer still listens."""
        with contextlib.suppress(Ended):
            self.send(struct.pack(">BxIxxBB", ABORT, 4, source, reason), _LAST_WORD_SECONDS)

    def request_release(self) -> None:
        """A-RELEASE-RQ (PS3.8 9.3.6)."""
        self.send(struct.pack(">BxIxxxx", RELEASE_RQ, 4))

    def answer_release(self) -> None:
        """A-RELEASE-RP (PS3.8 9.3.7)."""
        self.send(struct.pack(">BxIxxxx", RELEASE_RP, 4))

    def hang_up(self) -> None:
        """Say no more, let the peer close, and close: with bytes unread the peer might lose our last word."""
        until = time.monotonic() + _LAST_WORD_SECONDS
        if isinstance(self._connection, ssl.SSLSocket):
            # close_notify; ValueError where there was no handshake.
            with contextlib.suppress(OSError, ValueError):
                self._connection.settimeout(_LAST_WORD_SECONDS)
                self._connection.unwrap()
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._connection, socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                self._connection.settimeout(left)
                if not socket.socket.recv(self._connection, _READ):
                    break
        self._connection.close()

    def close(self) -> None:
        """Without a word more; what the peer may have to say is not waited for."""
        self._connection.close()
