"""The hospital as a whole: opens its senders, modalities and archive, lets patients in at a rate, and closes."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from threading import BoundedSemaphore, Event
from typing import Any

from orchestrator.simulator.archive import Archive
from orchestrator.simulator.course import BRISK, LIFELIKE, Course, Rooms
from orchestrator.simulator.ledger import Entry, Ledger
from orchestrator.simulator.mllp_out import Sender, Traffic
from orchestrator.simulator.modality import Modality
from orchestrator.simulator.orders import STATIONS, Exam, Planner, run_stamp
from orchestrator.simulator.peer import Peer
from orchestrator.simulator.rest import Api
from orchestrator.simulator.waiting import Stopped, rest

Report = dict[str, Any]
_KEPT_WITHOUT_END = 5000
"""Entries that an endless run remembers."""
_AT_ONCE = 4
"""Exams under way together in a finite run: one for each station."""


@dataclass(frozen=True)
class Targets:
    """Where Fiducial listens. Without a token its API is not read."""

    dicom: tuple[str, int] = ("127.0.0.1", 11112)
    ae_title: str = "FIDUCIAL"
    hl7: tuple[str, int] = ("127.0.0.1", 2575)
    http: tuple[str, int] = ("127.0.0.1", 8000)
    token: str = ""


@dataclass(frozen=True)
class Programme:
    """What this run is to do."""

    patients: int | None = None
    """None: no end."""
    rate: float | None = 4.0
    """Studies per minute; None: as fast as it goes."""
    faults: float = 0.0
    seed: int = 0
    once: bool = False
    history_days: int = 0
    patience: float = 120.0
    """Seconds to wait for an answer, for a worklist entry, and for an outcome to change."""
    judged: bool = True
    """Whether the report tells what Fiducial did."""


class Hospital:
    """One run. `stop` closes it at the next pause."""

    def __init__(self, targets: Targets, programme: Programme, stop: Event, say: Callable[[str], None]) -> None:
        self._targets, self._programme, self._stop, self._say = targets, programme, stop, say
        stamp, patience = run_stamp(), programme.patience
        self._planner = Planner(seed=programme.seed, stamp=stamp, fault_share=programme.faults)
        self.traffic = Traffic()
        self.ledger = Ledger(keep=None if programme.once else _KEPT_WITHOUT_END)
        his, ris = (
            Sender(name, targets.hl7, stamp=stamp, stop=stop, patience=patience, traffic=self.traffic)
            for name in ("HIS", "RIS")
        )
        modalities = {
            station: Modality(station, Peer(*targets.dicom, targets.ae_title, station, stop, patience))
            for station in STATIONS
        }
        tempo = BRISK if programme.once else LIFELIKE
        self._rooms = Rooms(his, ris, modalities, self._planner, stop, say, tempo)
        self._unanswered = Event()
        self._slots = BoundedSemaphore(_AT_ONCE if programme.once else 3 * len(STATIONS))

    def run(self, archive: Archive | None) -> Report:
        """Let everybody through, wait for the outcome, close; the report."""
        with ThreadPoolExecutor(thread_name_prefix="exam") as pool:
            try:
                for exam in self._exams():
                    self._admit(pool, exam)
                    if self._programme.once and self._unanswered.is_set():
                        self._say("Fiducial does not answer: no more patients are let in")
                        break
                    if self._programme.rate is not None:
                        rest(self._stop, 60 / self._programme.rate)
                while not self._programme.once:
                    rest(self._stop, 3600)
            except Stopped:
                self._say("the hospital closes")
        self._rooms.his.close()
        self._rooms.ris.close()
        verified = self._read_outcome()
        return self._report(archive, verified=verified)

    def _exams(self) -> Iterator[Exam]:
        patients = self._programme.patients
        for number in count(1) if patients is None else range(1, patients + 1):
            yield self._planner.exam(number, self._start(number), past=self._programme.history_days > 0)

    def _start(self, number: int) -> datetime:
        """The last full five minutes; in history, evenly over the past days between 7 and 19 o'clock."""
        now, days = datetime.now().astimezone(), self._programme.history_days
        if not days:
            return now.replace(minute=now.minute - now.minute % 5, second=0, microsecond=0)
        rng = self._planner.rng(number, "start")
        ago = 1 + (number - 1) * days // (self._programme.patients or 1)
        day = now - timedelta(days=min(ago, days))
        return day.replace(hour=rng.randrange(7, 19), minute=rng.randrange(0, 60, 5), second=0, microsecond=0)

    def _admit(self, pool: ThreadPoolExecutor, exam: Exam) -> None:
        while not self._slots.acquire(timeout=0.5):
            rest(self._stop, 0)
        future = pool.submit(Course(exam, self._rooms).run)
        future.add_done_callback(lambda done: self._discharge(exam, done))

    def _discharge(self, exam: Exam, done: Future[Entry | None]) -> None:
        self._slots.release()
        error = done.exception()
        if error is not None:
            # A defect of the simulator, and it must not look like a quiet day.
            self._say(f"{exam.label}: the simulator failed: {error!r}")
            self.ledger.add(Entry(exam, problem=f"the simulator failed: {error!r}"))
        elif (entry := done.result()) is not None:
            self.ledger.add(entry)
            if entry.gave_up:
                self._unanswered.set()

    def _read_outcome(self) -> bool:
        """Judge the studies; False (and a line that says so) when the API could not be asked."""
        if not self._programme.judged:
            return False
        if not self._targets.token:
            self._say("no token: the report tells only what was sent, not what Fiducial did with it")
            return False
        api = Api(*self._targets.http, self._targets.token)
        try:
            if self._programme.once and not self._stop.is_set():
                self._say("waiting for the outcome")
                self.ledger.await_outcome(api, self._stop, self._programme.patience, self._say)
            else:
                self.ledger.read_outcome(api)
                self.ledger.leave_the_unsettled_open()
        except Stopped:
            return False
        except OSError as error:
            self._say(f"the API cannot be read: {error}")
            return False
        return True

    def _report(self, archive: Archive | None, *, verified: bool) -> Report:
        counts = self.ledger.report()
        received = archive.studies if archive is not None else {}
        return {
            **{key: value for key, value in counts.items() if key != "details"},
            "messages_sent": self.traffic.sent,
            "messages_refused": self.traffic.refused,
            "verified": verified,
            "seed": self._programme.seed,
            "archive": {"studies": len(received), "instances": sum(received.values())},
            "details": counts["details"],
        }
