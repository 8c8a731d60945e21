"""The receiving side: an archive that takes every object and remembers only what it was given, and one that is dead.

An archive has moods, as real ones have: it is slow, it has no room for a while, its answers get lost, it restarts.
"""

import math
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from random import Random
from threading import Event, Lock, Thread

from pydicom.dataset import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.transport import ThreadedAssociationServer

from orchestrator.simulator.peer import no_delay

VERIFICATION_CLASS = "1.2.840.10008.1.1"
LONGEST_PAUSE = 300.0
"""Seconds for which a sender that was turned away may stay away: Fiducial's longest back-off."""
_SUCCESS, _OUT_OF_RESOURCES, _CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000


class Mood(Enum):
    """How an archive treats what it is sent."""

    FINE = "takes everything"
    SLOW = "is slow"
    FULL = "has no room (A700)"
    MUMBLING = "keeps what it is sent, and its answers get lost"
    CLOSED = "restarts"


@dataclass(frozen=True)
class Kept:
    """Under whom an object is filed."""

    patient_id: str
    issuer: str
    patient_name: str
    birth_date: str
    sex: str
    accession_number: str

    @classmethod
    def of(cls, ds: Dataset) -> "Kept":
        return cls(*(str(ds.get(keyword) or "") for keyword in _FILED_UNDER))


_FILED_UNDER = (
    "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber",
)  # fmt: skip


class Archive:
    """A Storage SCP on its own port. It knows the objects of the newest studies, and of the others how many."""

    remembers: float = 6000
    """Studies of which it would notice that an object comes a second time; more than a hospital's ledger keeps.

    Without bound (math.inf) where that keeps all.
    """
    slowness = 1.0
    """Seconds that a slow archive takes for an object."""

    def __init__(self, ae_title: str, say: Callable[[str], None]) -> None:
        self.ae_title, self.say = ae_title, say
        self.mood, self.refused, self.unanswered = Mood.FINE, 0, 0
        self._objects: dict[str, dict[str, Kept]] = {}
        self._earlier = Counter[str]()
        self._lock, self._port = Lock(), 0
        self._moody_until = -math.inf
        self._server: ThreadedAssociationServer | None = None

    def open(self, port: int) -> int:
        """Listen on 127.0.0.1; port 0 takes a free one. Returns the port. Raises OSError when it is taken."""
        ae = AE(ae_title=self.ae_title)
        ae.add_supported_context(VERIFICATION_CLASS)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_CONN_OPEN, no_delay),
            (evt.EVT_C_ECHO, lambda event: 0x0000),
            (evt.EVT_C_STORE, self._receive),
        ]
        self._server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        if self._server is None:
            raise OSError("the archive did not start")
        return self.port

    @property
    def port(self) -> int:
        """Where it listens. Raises RuntimeError before it is open."""
        if self._server is None:
            raise RuntimeError("the archive is not open")
        return int(self._server.server_address[1])

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def turn(self, mood: Mood) -> None:
        """Be in this mood from now on. Raises OSError when somebody took the port during a restart."""
        if self._server is not None:
            self._port = self.port
        if mood is Mood.CLOSED:
            self.close()
        elif self._server is None:
            self.open(self._port)
        if self.mood is not Mood.FINE:
            self._moody_until = time.monotonic()
        self.mood = mood
        self.say(f"{self.ae_title} {mood.value}")

    def was_moody_within(self, seconds: float) -> bool:
        """Whether it was anything but fine in so many seconds before now."""
        return self.mood is not Mood.FINE or time.monotonic() - self._moody_until < seconds

    @property
    def counts(self) -> dict[str, int]:
        """What it got, what it refused, and what it got without saying so."""
        return {**self.received, "refused": self.refused, "unanswered": self.unanswered}

    @property
    def received(self) -> dict[str, int]:
        """How many studies, and how many different objects in them."""
        with self._lock:
            known, earlier = self._objects.values(), self._earlier
            return {
                "studies": len(known) + earlier["studies"],
                "instances": sum(map(len, known)) + earlier["instances"],
            }

    def of(self, study_instance_uid: str) -> dict[str, Kept]:
        """What it holds of a study: of an object that came more than once, as it came last."""
        with self._lock:
            return dict(self._objects.get(study_instance_uid, {}))

    def _receive(self, event: evt.Event) -> int:
        if self.mood is Mood.FULL:
            self.refused += 1
            return _OUT_OF_RESOURCES
        if self.mood is Mood.SLOW:
            time.sleep(self.slowness)
        status = self._keep(event)
        if self.mood is Mood.MUMBLING:
            self.unanswered += 1
            event.assoc.abort()
        return status

    def _keep(self, event: evt.Event) -> int:
        try:
            ds = event.dataset
            study, instance, kept = str(ds.StudyInstanceUID), str(ds.SOPInstanceUID), Kept.of(ds)
        except Exception as error:
            self.say(f"{self.ae_title} refused an object: {error}")
            return _CANNOT_UNDERSTAND
        with self._lock:
            is_new = study not in self._objects
            self._objects.setdefault(study, {})[instance] = kept
            if len(self._objects) > self.remembers:
                oldest = self._objects.pop(next(iter(self._objects)))
                self._earlier.update(studies=1, instances=len(oldest))
        if is_new:
            self.say(f"{self.ae_title} receives study {study} from {event.assoc.requestor.ae_title}")
        return _SUCCESS


class DeadArchive:
    """Somebody listens, and nobody ever says a word."""

    def __init__(self, ae_title: str) -> None:
        self.ae_title, self.calls = ae_title, 0
        self._socket: socket.socket | None = None
        self._callers: list[socket.socket] = []

    def open(self, port: int) -> int:
        """Listen on 127.0.0.1; port 0 takes a free one. Returns the port. Raises OSError when it is taken."""
        self._socket = listening = socket.create_server(("127.0.0.1", port))
        Thread(target=self._pick_up, args=(listening,), name=self.ae_title, daemon=True).start()
        return int(listening.getsockname()[1])

    def close(self) -> None:
        if self._socket is not None:
            # Who waits in accept is not woken by a close alone.
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        for caller in self._callers:
            caller.close()

    @property
    def counts(self) -> dict[str, int]:
        return {"calls": self.calls}

    def _pick_up(self, listening: socket.socket) -> None:
        while True:
            try:
                caller, _ = listening.accept()
            except OSError:
                return
            self.calls += 1
            # Kept as long as they wait, because a forgotten connection would be closed, and that is an answer.
            self._callers = [each for each in self._callers if not _hung_up(each)]
            caller.setblocking(False)
            self._callers.append(caller)


def _hung_up(caller: socket.socket) -> bool:
    """Whether the other side has closed, after all that it said; then this side is closed too."""
    try:
        while caller.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    caller.close()
    return True


def change_moods(archive: Archive, rate: float, rng: Random, stop: Event, calm: Event) -> None:
    """Fine for some minutes (`rate`: so many times as often not), then otherwise for a while, and so on until `calm`.

    In a thread of its own.
    """

    def live() -> None:
        while not calm.wait(rng.uniform(60, 240) / rate):
            archive.turn(rng.choice([mood for mood in Mood if mood is not Mood.FINE]))
            calm.wait(rng.uniform(10, 60))
            recover(archive, stop)

    Thread(target=live, name=f"moods of {archive.ae_title}", daemon=True).start()


def recover(archive: Archive, stop: Event, *, pause: float = 5.0) -> None:
    """Be fine again; after a restart as soon as nobody else has the port, looked at every `pause` seconds."""
    while not stop.is_set():
        try:
            archive.turn(Mood.FINE)
        except OSError as error:
            archive.say(f"{archive.ae_title} cannot listen again yet: {error.strerror or error}")
            stop.wait(pause)
        else:
            return
