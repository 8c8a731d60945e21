"""What a RIS and a HIS say, written by hand; and their side of an MLLP connection."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from functools import partial

from orchestrator.hl7 import intake
from orchestrator.hl7.mllp import MAXIMUM_FRAME, Frame, Listener, Store
from orchestrator.models import InboundMessage
from tests.peers import LOOPBACK


def msh(kind: str, control_id: str, *, application: str = "RIS", at: str = "20260705080000", charset: str = "") -> str:
    return rf"MSH|^~\&|{application}|NORTH|FIDUCIAL|FIDUCIAL|{at}||{kind}|{control_id}|P|2.5.1||||||{charset}"


def pid(patient_id: str = "P1", name: str = "Doe^Jane^^^^^L", *, born: str = "19700228", sex: str = "F") -> str:
    return f"PID|1||{patient_id}^^^MAIN^MR||{name}||{born}|{sex}"


def adt(event: str = "A01", control_id: str = "1", *, person: str = "", **header: str) -> str:
    """An ADT; `person` is its PID, whose first number makes the visit's."""
    said = person or pid()
    number = said.split("|")[3].partition("^")[0] if said.count("|") > 3 else ""
    pv1 = f"PV1|1|I|WARD^1^A||||||||||||||||V{number}"
    return "\r".join([msh(f"ADT^{event}", control_id, **header), f"EVN|{event}", said, pv1, ""])


def orm(control: str = "NW", control_id: str = "1", *, number: str = "1", person: str = "", status: str = "",
        start: str = "20260705103000", timing: str = "", **header: str) -> str:  # fmt: skip
    """An ORM of a CT on CT_NORTH. `number` makes all its numbers; `timing` is more segments (TQ1)."""
    code = "CTHEAD^CT head^L"
    segments = [
        msh("ORM^O01", control_id, **header),
        person or pid(),
        f"ORC|{control}|PL{number}|F{number}||{status}||^^^{start}^^R|||||||||||CT_NORTH^^L",
        *filter(None, [timing]),
        f"OBR|1|PL{number}|F{number}|{code}^{code}||||||||||||||A{number}|RP{number}|S{number}||||CT",
        "",
    ]
    return "\r".join(segments)


def without(message: str, segment: str, field: int = 0) -> str:
    """A message without a segment, or with a field of it empty."""
    lines = message.split("\r")
    for index, line in enumerate(lines):
        if line.startswith(segment) and field:
            fields = line.split("|")
            fields[field] = ""
            lines[index] = "|".join(fields)
    return "\r".join(line for line in lines if field or not line.startswith(segment))


def framed(message: str | bytes) -> bytes:
    return b"\x0b" + (message.encode() if isinstance(message, str) else message) + b"\x1c\r"


def take(*messages: str | bytes, address: str = LOOPBACK) -> list[str]:
    """The answers of the listener's store, without a socket, in one batch."""
    frames = [Frame(each.encode() if isinstance(each, str) else each, address) for each in messages]
    return [answer.decode() for answer in intake.store(frames, ring=lambda interface_ids: None)]


def field(answer: str, segment: str, number: int) -> str:
    """A field of an acknowledgement; empty when absent."""
    for line in answer.split("\r"):
        fields = line.split("|")
        if fields[0] == segment:
            return fields[number] if number < len(fields) else ""
    return ""


def last() -> InboundMessage:
    return InboundMessage.objects.latest("pk")


class Sender:
    """A sending system on one connection."""

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection((LOOPBACK, port), timeout=20)
        self.socket = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain
        self._unread = b""

    def write(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> str:
        """The next acknowledgement."""
        while b"\x1c\r" not in self._unread:
            more = self.socket.recv(65536)
            assert more, "the listener closed the connection without an answer"
            self._unread += more
        frame, _, self._unread = self._unread.partition(b"\x1c\r")
        assert frame.startswith(b"\x0b")
        return frame[1:].decode()

    def say(self, message: str | bytes) -> str:
        self.write(framed(message))
        return self.answer()

    def closed(self) -> bool:
        """Whether the listener ends the connection (waits for it)."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@contextlib.contextmanager
def listening(
    *, idle_seconds: float = 60.0, maximum: int = MAXIMUM_FRAME, tls: ssl.SSLContext | None = None,
    batches: list[int] | None = None, store: Store | None = None,
) -> Iterator[int]:  # fmt: skip
    """Our listener in a thread of this process, on the test's database: its port. Notes the sizes of its batches."""
    ready, port, stopping = threading.Event(), [0], []

    def noted(frames: Sequence[Frame]) -> list[bytes]:
        if batches is not None:
            batches.append(len(frames))
        return (store or partial(intake.store, ring=lambda interface_ids: None))(frames)

    def known(number: int) -> None:
        port[0] = number
        ready.set()

    async def serve() -> None:
        stop = asyncio.Event()
        stopping.append((asyncio.get_running_loop(), stop))
        await Listener(noted, idle_seconds=idle_seconds, maximum=maximum).run(LOOPBACK, 0, stop, tls=tls, ready=known)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield port[0]
    finally:
        loop, stop = stopping[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive()
