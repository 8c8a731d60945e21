"""The hospital's MLLP client: one connection per sending application, one message in flight."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from threading import Event, Lock

from orchestrator.simulator.hl7_out import Header
from orchestrator.simulator.waiting import GaveUp, attempts

START, END = b"\x0b", b"\x1c\x0d"


@dataclass(frozen=True)
class Answer:
    """MSA-1 and what was said beside it, about the message `control_id`."""

    code: str
    text: str
    control_id: str = ""

    @property
    def accepted(self) -> bool:
        return self.code in ("AA", "CA")


def read_answer(message: bytes, control_id: str) -> Answer | None:
    """The answer to `control_id`, or None when the frame answers something else (or nothing)."""
    segments = {line[:3]: line.split("|") for line in message.decode("utf-8", "replace").split("\r") if line}
    msa = segments.get("MSA", [])
    if len(msa) < 3 or msa[2] != control_id:
        return None
    err = segments.get("ERR", [])
    texts = [*msa[3:4], *err[2:4], *err[8:9]]
    return Answer(msa[1], " ".join(filter(None, texts)), control_id)


@dataclass
class Traffic:
    """Counts over all senders."""

    sent: int = 0
    refused: int = 0
    _lock: Lock = field(default_factory=Lock)

    def count(self, answer: Answer) -> None:
        with self._lock:
            self.sent += 1
            self.refused += not answer.accepted


class Sender:
    """One sending application with one connection that stays open; one message in flight (MLLP).

    No answer, a broken connection or somebody else's answer mean that nothing is known: the connection is
    closed and the same message goes again with the same control id, until the patience is used up.
    """

    def __init__(
        self, application: str, facility: str, address: tuple[str, int], *, stamp: str, stop: Event, patience: float,
        traffic: Traffic,
    ) -> None:  # fmt: skip
        self.name = f"{application} of {facility}"
        self._application, self._facility, self._address, self._stamp = application, facility, address, stamp
        self._stop, self._patience, self._traffic = stop, patience, traffic
        self._lock, self._numbers = Lock(), count(1)
        self._socket: socket.socket | None = None

    def send(
        self, message_type: str, build: Callable[[Header], str], *, times: int = 1, ago: float = 0.0,
        encoding: str = "utf-8",
    ) -> Answer:  # fmt: skip
        """Send what `build` makes of a fresh header, `times` times over; return the worst answer.

        `ago`: so many seconds before now the message says it was written. `encoding`: of the bytes, whatever the
        header says; letters that it lacks are question marks. Raises GaveUp when no answer came within the patience,
        Stopped when the hospital closes.
        """
        # Whoever waits behind a message that is not answered loses patience as well.
        if not self._lock.acquire(timeout=self._patience):
            raise GaveUp(f"HL7 {self._application}: earlier messages are not answered")
        try:
            control_id = f"{self._application[0]}{self._facility[0]}{self._stamp}{next(self._numbers)}"
            at = datetime.now().astimezone() - timedelta(seconds=ago)
            message = build(Header(self._application, self._facility, message_type, control_id, at))
            payload = message.encode(encoding, "replace")
            answers = [self._until_answered(payload, control_id) for _ in range(times)]
        finally:
            self._lock.release()
        return min(answers, key=lambda answer: answer.accepted)

    def restart(self, seconds: float) -> None:
        """The system is down for so long: its connection breaks, and what it has to say waits."""
        with self._lock:
            self.close()
            self._stop.wait(seconds)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _until_answered(self, payload: bytes, control_id: str) -> Answer:
        trouble = "no answer"
        for _ in attempts(self._stop, self._patience):
            try:
                answer = read_answer(self._exchange(payload), control_id)
            except OSError as error:
                trouble = str(error) or type(error).__name__
            else:
                if answer is not None:
                    self._traffic.count(answer)
                    return answer
                trouble = "the answer names another message"
            self.close()
        raise GaveUp(f"HL7 {self._address[0]}:{self._address[1]} did not answer {control_id}: {trouble}")

    def _exchange(self, payload: bytes) -> bytes:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=10)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(START + payload + END)
        received = b""
        while END not in received:
            chunk = self._socket.recv(65536)
            if not chunk:
                raise ConnectionError("the connection was closed before the answer")
            received += chunk
        return received.partition(START)[2].partition(END)[0]
