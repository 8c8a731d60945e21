"""The MLLP listener (HL7 v2 Transport Specification): frames in, stored, committed together, then acknowledged."""

import asyncio
import logging
import ssl
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Protocol, cast

from django.db import connections

logger = logging.getLogger(__name__)

START, END = b"\x0b", b"\x1c\r"
MAXIMUM_FRAME = 16 * 1024 * 1024
# How much of a frame beyond the maximum is kept, and after how much more of it we stop listening.
KEPT_OF_TOO_LARGE = 65536
ENDLESS = 8 * MAXIMUM_FRAME
IDLE_SECONDS = 600.0
# Messages in one commit, about.
_BATCH = 500
# How many bytes of one connection may wait for their answers, and what a message counts beside its own length, so that
# none has more than two commits to itself.
_UNANSWERED, _OF_EACH = 512 * 1024, 525
# Seconds: whoever does not take its answers is not waited for longer when we stop.
_FAREWELL = 5.0


@dataclass(frozen=True)
class Frame:
    """One message as it came, and from where; only its beginning when it was too large (not `whole`)."""

    raw: bytes
    address: str = ""
    whole: bool = True


class Store(Protocol):
    """Commits frames and answers their acknowledgements, in order. Runs in one thread of its own."""

    def __call__(self, frames: Sequence[Frame]) -> list[bytes]: ...


class Framer:
    """Cuts a stream into frames, whatever the reads look like, and never holds more than `maximum` of one."""

    def __init__(self, address: str = "", maximum: int = MAXIMUM_FRAME) -> None:
        self._address, self._maximum = address, maximum
        self._buffer = bytearray()
        self._inside = False
        self._searched = 0
        # Bytes of a frame beyond the maximum that were thrown away; None while the frame is small enough.
        self.dropped: int | None = None

    @property
    def inside(self) -> bool:
        """Whether a frame has begun that has not ended."""
        return self._inside

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. One that outgrows the maximum comes at once, its end is dropped.

        Bytes between frames are dropped too.
        """
        self._buffer += data
        frames = []
        while self._inside or self._begin():
            end = self._buffer.find(END, self._searched)
            if end < 0:
                frames += self._wait_for_end()
                break
            if self.dropped is None:
                frames.append(self._frame(end))
            del self._buffer[: end + len(END)]
            self._inside, self._searched, self.dropped = False, 0, None
        return frames

    def _begin(self) -> bool:
        start = self._buffer.find(START)
        if start < 0:
            self._buffer.clear()
            return False
        del self._buffer[: start + 1]
        self._inside = True
        return True

    def _frame(self, end: int) -> Frame:
        if end > self._maximum:
            return Frame(bytes(self._buffer[: min(end, KEPT_OF_TOO_LARGE)]), self._address, whole=False)
        return Frame(bytes(self._buffer[:end]), self._address)

    def _wait_for_end(self) -> list[Frame]:
        """Remember how far the end was looked for; let go of what is too much, but for half an end."""
        frames = []
        # The last byte may be the first half of the end, and then is no part of the message.
        if self.dropped is None and len(self._buffer) > self._maximum + 1:
            frames.append(self._frame(len(self._buffer)))
            self.dropped = 0
        if self.dropped is not None:
            self.dropped += len(self._buffer) - 1
            del self._buffer[:-1]
        self._searched = max(0, len(self._buffer) - 1)
        return frames


def _tell_dropped(number: int) -> None:
    if number:
        logger.error("%d messages behind one that could not be stored were dropped", number)


class _Connection(asyncio.Protocol):
    """One sender. Its frames are handed to the listener in the order they came in, and answered in it.

    No more than `_UNANSWERED` wait for their answers, so that others have theirs soon; what was read beyond waits here.
    """

    def __init__(self, listener: "Listener", idle_seconds: float, maximum: int) -> None:
        self._listener, self._idle_seconds, self._maximum = listener, idle_seconds, maximum
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._waiting: deque[Frame] = deque()
        # Counted in bytes; whether its answers are not taken; whether no more of it is read.
        self._unanswered, self._is_full, self._is_ending = 0, False, False
        # Something of it could not be stored: what it sent after that is not stored either, or it would come too early.
        self.failed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        # Asked now: a closed transport of TLS answers no more questions.
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        self._framer = Framer(self._address, self._maximum)
        self._timer = self._loop.call_later(self._idle_seconds, self._look_for_silence)
        self._listener.joined(self)

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._waiting += self._framer.feed(data)
        self._hand_on()
        if (self._framer.dropped or 0) > ENDLESS:
            logger.warning("A message without end was refused")
            self.end()
        elif self._unanswered > _UNANSWERED:
            self._pause()

    def _hand_on(self) -> None:
        """Have stored what may wait for its answer: while something waits here, something waits for an answer."""
        frames = []
        while self._waiting and self._unanswered <= _UNANSWERED:
            frames.append(frame := self._waiting.popleft())
            self._unanswered += len(frame.raw) + _OF_EACH
        if frames:
            self._listener.take(self, frames)

    def eof_received(self) -> bool:
        """It says no more, but may wait for answers (TLS cannot: it ends on both sides)."""
        self.end()
        return not self._is_tls

    def answer(self, answers: Sequence[tuple[Frame, bytes]]) -> None:
        """The acknowledgements of frames, which are stored."""
        self._heard = self._loop.time()
        self._unanswered -= sum(len(frame.raw) + _OF_EACH for frame, _ in answers)
        if not self._transport.is_closing():
            self._transport.write(b"".join([START + answer + END for _, answer in answers]))
        self._go_on()

    def fail(self) -> None:
        """Something of it was not stored: what came after that is not, and it has to send all of it again."""
        _tell_dropped(len(self._waiting))
        self._waiting.clear()
        self._close()

    def _close(self) -> None:
        # Once: a second time breaks a transport of TLS.
        if not self._transport.is_closing():
            self._transport.close()

    def end(self) -> None:
        """Read no more; close when all is answered."""
        self._is_ending = True
        self._pause()
        self._go_on()

    def hand_all_on(self) -> None:
        """Have stored what was read, however much it is: there is no later."""
        frames = list(self._waiting)
        self._waiting.clear()
        self._unanswered += sum(len(each.raw) + _OF_EACH for each in frames)
        self._listener.take(self, frames)

    def abort(self) -> None:
        self._transport.abort()

    def pause_writing(self) -> None:
        self._is_full = True
        self._pause()

    def resume_writing(self) -> None:
        self._heard, self._is_full = self._loop.time(), False
        self._go_on()

    def _pause(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def _go_on(self) -> None:
        self._hand_on()
        if self._is_ending:
            if not self._unanswered:
                self._close()
        elif not self._is_full and self._unanswered <= _UNANSWERED and not self._transport.is_closing():
            self._transport.resume_reading()

    def _look_for_silence(self) -> None:
        """Close a connection whose peer is silent too long, or does not take its answers; not one that waits for us."""
        rest = self._heard + self._idle_seconds - self._loop.time()
        if self._unanswered and not self._is_full and not self._transport.is_closing():
            rest = self._idle_seconds
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._look_for_silence)
        else:
            logger.info("Connection from %s closed (silent)", self._address)
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        # What it sent whole is stored.
        self._timer.cancel()
        if error:
            logger.info("Connection from %s closed (%s)", self._address, type(error).__name__)
        if self._framer.inside:
            logger.warning("Connection from %s ended inside a message, which was not stored", self._address)
        self._listener.left(self)


_Batch = list[tuple[_Connection, Frame]]


class Listener:
    """Answers MLLP connections. `store` is called with all frames that wait, so that they share one commit.

    The loop cuts frames and writes answers; one thread, whose database connection is its own, stores them. While it
    commits, the next frames gather.
    """

    def __init__(self, store: Store, *, idle_seconds: float = IDLE_SECONDS, maximum: int = MAXIMUM_FRAME) -> None:
        self._store, self._idle_seconds, self._maximum = store, idle_seconds, maximum
        self._connections: set[_Connection] = set()
        self._is_stopping, self._deserted = False, asyncio.Event()
        # What came in this turn of the loop, and what waits for the thread; None ends it.
        self._arrived: _Batch = []
        self._waiting: SimpleQueue[_Batch | None] = SimpleQueue()

    async def run(
        self, host: str, port: int, stop: asyncio.Event, *, tls: ssl.SSLContext | None = None,
        ready: Callable[[int], None] = lambda port: None,
    ) -> None:  # fmt: skip
        """Listen until `stop` is set; frames that were read are stored and answered first."""
        self._loop = asyncio.get_running_loop()
        server = await self._loop.create_server(
            lambda: _Connection(self, self._idle_seconds, self._maximum), host, port, ssl=tls, backlog=256
        )
        thread = Thread(target=self._commit, name="hl7-store", daemon=True)
        thread.start()
        ready(server.sockets[0].getsockname()[1])
        await stop.wait()
        server.close()
        self._is_stopping = True
        for each in list(self._connections):
            each.hand_all_on()
            each.end()
        self._hand_over()
        self._waiting.put(None)
        await self._loop.run_in_executor(None, thread.join)
        if self._connections:
            self._deserted.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._deserted.wait(), _FAREWELL)
        for each in list(self._connections):
            each.abort()

    def joined(self, connection: _Connection) -> None:
        self._connections.add(connection)
        if self._is_stopping:
            connection.end()

    def left(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._deserted.set()

    def take(self, connection: _Connection, frames: Sequence[Frame]) -> None:
        """Store these frames soon, together with all others that came in this turn of the loop."""
        if not self._arrived:
            self._loop.call_soon(self._hand_over)
        self._arrived += [(connection, frame) for frame in frames]

    def _hand_over(self) -> None:
        if self._arrived:
            self._waiting.put(self._arrived)
            self._arrived = []

    def _commit(self) -> None:
        """In its thread: commit what waits, then have it answered: the one writer."""
        for batch in self._batches():
            try:
                answers = self._store([frame for _, frame in batch])
                told = [(*each, answer) for each, answer in zip(batch, answers, strict=True)]
            except Exception as error:
                # Nothing was stored, so nothing is answered: the senders keep their messages and send them again.
                # The error's text may quote a message: it stays out of the log.
                logger.error("%d messages could not be stored (%s)", len(batch), type(error).__name__)  # noqa: TRY400
                for connection in {connection for connection, _ in batch}:
                    connection.failed = True
                    self._loop.call_soon_threadsafe(connection.fail)
                # The database may be another one now, or may not be written to: what comes next asks anew.
                connections.close_all()
            else:
                self._loop.call_soon_threadsafe(self._answer, told)
        connections.close_all()

    def _batches(self) -> Iterator[_Batch]:
        """All that waits, again and again; nothing of a connection once it failed."""
        waiting: _Batch = []
        while True:
            arrived = [] if waiting else self._waiting.get()
            while arrived is not None and len(waiting := waiting + arrived) < _BATCH and not self._waiting.empty():
                arrived = self._waiting.get()
            if arrived is None and not waiting:
                return
            if arrived is None:
                self._waiting.put(None)
            batch, waiting = waiting[:_BATCH], waiting[_BATCH:]
            to_store = [each for each in batch if not each[0].failed]
            _tell_dropped(len(batch) - len(to_store))
            if to_store:
                yield to_store

    def _answer(self, told: Sequence[tuple[_Connection, Frame, bytes]]) -> None:
        """In the loop: each connection writes its own once."""
        answers: defaultdict[_Connection, list[tuple[Frame, bytes]]] = defaultdict(list)
        for connection, frame, answer in told:
            answers[connection].append((frame, answer))
        for connection, its in answers.items():
            connection.answer(its)
