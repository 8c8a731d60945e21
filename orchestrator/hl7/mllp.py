"""The MLLP listener (HL7 v2 Transport Specification): frames in, stored, committed together, then acknowledged."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from django.db import connections

logger = logging.getLogger(__name__)

START, END = b"\x0b", b"\x1c\r"
MAXIMUM_FRAME = 16 * 1024 * 1024
# How much of a frame beyond the maximum is kept, and after how much more of it we stop listening.
KEPT_OF_TOO_LARGE = 65536
ENDLESS = 8 * MAXIMUM_FRAME
IDLE_SECONDS = 600.0
_READ = 65536
_BATCH = 500


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


class Listener:
    """Answers MLLP connections. `store` is called with all frames that wait, so that they share one commit."""

    def __init__(self, store: Store, *, idle_seconds: float = IDLE_SECONDS, maximum: int = MAXIMUM_FRAME) -> None:
        self._store, self._idle_seconds, self._maximum = store, idle_seconds, maximum
        self._waiting: asyncio.Queue[tuple[Frame, asyncio.Future[bytes]]] = asyncio.Queue()
        self._connections: set[asyncio.Task[None]] = set()
        self._reading: set[asyncio.Task[None]] = set()
        self._stopping = False
        # One writer, in one thread: its database connection is its own.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hl7-store")

    async def run(
        self, host: str, port: int, stop: asyncio.Event, *, tls: ssl.SSLContext | None = None,
        ready: Callable[[int], None] = lambda port: None,
    ) -> None:  # fmt: skip
        """Listen until `stop` is set; frames that were read are stored and answered first."""
        server = await asyncio.start_server(self._connected, host, port, ssl=tls, backlog=256)
        committer = asyncio.create_task(self._commit())
        ready(server.sockets[0].getsockname()[1])
        await stop.wait()
        server.close()
        self._stopping = True
        for task in list(self._reading):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        committer.cancel()
        await asyncio.get_running_loop().run_in_executor(self._thread, connections.close_all)
        self._thread.shutdown()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        peer = writer.get_extra_info("peername")
        if task is None or peer is None:
            writer.close()
            return
        self._connections.add(task)
        framer = Framer(str(peer[0]), self._maximum)
        try:
            await self._converse(reader, writer, framer, task)
        except (OSError, TimeoutError, asyncio.CancelledError) as error:
            # The peer left, was silent too long, or we stop. What it sent whole is stored.
            logger.info("Connection from %s closed (%s)", peer[0], type(error).__name__)
        finally:
            if framer.inside:
                logger.warning("Connection from %s ended inside a message, which was not stored", peer[0])
            self._connections.discard(task)
            writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framer: Framer, task: "asyncio.Task[None]"
    ) -> None:
        while not self._stopping:
            self._reading.add(task)
            try:
                async with asyncio.timeout(self._idle_seconds):
                    data = await reader.read(_READ)
            finally:
                self._reading.discard(task)
            if not data:
                return
            answers = [self._enqueue(frame) for frame in framer.feed(data)]
            if answers:
                writer.write(b"".join([START + await answer + END for answer in answers]))
                async with asyncio.timeout(self._idle_seconds):
                    await writer.drain()
            if (framer.dropped or 0) > ENDLESS:
                logger.warning("A message without end was refused")
                return

    def _enqueue(self, frame: Frame) -> "asyncio.Future[bytes]":
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((frame, future))
        return future

    async def _commit(self) -> None:
        """Take all that waits, commit it once, then answer each: the one writer."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            while not self._waiting.empty() and len(batch) < _BATCH:
                batch.append(self._waiting.get_nowait())
            try:
                answers = await loop.run_in_executor(self._thread, self._store, [frame for frame, _ in batch])
            except Exception as error:
                # Nothing was stored, so nothing is answered: the senders keep their messages and send them again.
                # The error's text may quote a message: it stays out of the log.
                logger.error("%d messages could not be stored (%s)", len(batch), type(error).__name__)  # noqa: TRY400
                for _, future in batch:
                    future.set_exception(ConnectionError("not stored"))
                    future.exception()
            else:
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
