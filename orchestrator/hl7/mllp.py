"""The MLLP listener (HL7 v2 Transport Specification): frames in, stored, committed together, then acknowledged."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

logger = logging.getLogger(__name__)

START, END = b"\x0b", b"\x1c\r"
MAXIMUM_FRAME = 16 * 1024 * 1024
IDLE_SECONDS = 600.0
_READ = 65536


@dataclass(frozen=True)
class Frame:
    """One message as it came, and from where."""

    raw: bytes
    address: str


class Store(Protocol):
    """Commits frames and answers their acknowledgements, in order. Runs in one thread of its own."""

    def __call__(self, frames: Sequence[Frame]) -> list[bytes]: ...


class FrameTooLarge(Exception):
    """More bytes than MAXIMUM_FRAME without an end of block."""


class Framer:
    """Cuts a stream into frames, whatever the reads look like."""

    def __init__(self, maximum: int = MAXIMUM_FRAME) -> None:
        self._buffer = bytearray()
        self._maximum = maximum

    def feed(self, data: bytes) -> list[bytes]:
        """Complete frames in `data` and what came before. Bytes outside frames are dropped. Raises FrameTooLarge."""
        self._buffer += data
        frames = []
        while (start := self._buffer.find(START)) >= 0:
            end = self._buffer.find(END, start)
            if end < 0:
                del self._buffer[:start]
                break
            frames.append(bytes(self._buffer[start + 1 : end]))
            del self._buffer[: end + len(END)]
        else:
            self._buffer.clear()
        if len(self._buffer) > self._maximum:
            raise FrameTooLarge(f"a frame has more than {self._maximum} bytes")
        return frames


class Listener:
    """Answers MLLP connections. `store` is called with all frames that wait, so that they share one commit."""

    def __init__(
        self, store: Store, *, refuse_large: Callable[[bytes, str], bytes], idle_seconds: float = IDLE_SECONDS
    ):
        self._store, self._refuse_large, self._idle_seconds = store, refuse_large, idle_seconds
        self._waiting: asyncio.Queue[tuple[Frame, asyncio.Future[bytes]]] = asyncio.Queue()
        self._connections: set[asyncio.Task[None]] = set()

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
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._waiting.join()
        committer.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  asyncio runs us in one
        self._connections.add(task)
        address = str(writer.get_extra_info("peername")[0])
        try:
            await self._converse(reader, writer, address)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            # The peer left, was silent too long, or we stop. What it sent whole is stored.
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        framer = Framer()
        while True:
            async with asyncio.timeout(self._idle_seconds):
                data = await reader.read(_READ)
            if not data:
                return
            try:
                frames = framer.feed(data)
            except FrameTooLarge as error:
                logger.warning("Connection from %s closed: %s", address, error)
                writer.write(START + self._refuse_large(data, address) + END)
                await writer.drain()
                return
            answers = [self._enqueue(Frame(raw, address)) for raw in frames]
            for answer in answers:
                writer.write(START + await asyncio.shield(answer) + END)
            await writer.drain()

    def _enqueue(self, frame: Frame) -> "asyncio.Future[bytes]":
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((frame, future))
        return future

    async def _commit(self) -> None:
        """Take all that waits, commit it once, then answer each: the one writer."""
        while True:
            batch = [await self._waiting.get()]
            while not self._waiting.empty() and len(batch) < 500:
                batch.append(self._waiting.get_nowait())
            try:
                answers = await asyncio.to_thread(self._store, [frame for frame, _ in batch])
            except Exception as error:
                # Nothing was stored, so nothing is answered: the senders keep their messages and send them again.
                logger.exception("%d messages could not be stored", len(batch))
                for _, future in batch:
                    future.set_exception(ConnectionError(str(error)))
                    future.exception()
            else:
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
            for _ in batch:
                self._waiting.task_done()
