"""The hospital as a whole: opens its senders, modalities and archive, lets patients in at a rate, and closes."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from random import Random
from threading import BoundedSemaphore, Event, Thread
from typing import Any

from orchestrator.simulator import ai_box
from orchestrator.simulator.almanac import starts
from orchestrator.simulator.archives import Archives
from orchestrator.simulator.calendar import calendar
from orchestrator.simulator.clerk import Office, Queue
from orchestrator.simulator.course import BRISK, HASTY, LIFELIKE, Course, Rooms
from orchestrator.simulator.day import bustle
from orchestrator.simulator.desk import FrontDesk
from orchestrator.simulator.ledger import Entry, Ledger
from orchestrator.simulator.mllp_out import Sender, Traffic
from orchestrator.simulator.modality import Modality
from orchestrator.simulator.orders import Exam
from orchestrator.simulator.peer import Peer
from orchestrator.simulator.planner import Habits, Planner, run_stamp
from orchestrator.simulator.rest import Api
from orchestrator.simulator.sites import HOUSES, STATIONS
from orchestrator.simulator.staff import Staff
from orchestrator.simulator.waiting import Stopped, rest

Report = dict[str, Any]
_KEPT_WITHOUT_END = 5000
"""Entries that an endless run remembers."""
_MINUTE, _MINUTE_IN_A_HURRY = 1.0, 0.02
"""Seconds that a minute at the exceptions queue takes."""
_UP, _DOWN = (30.0, 120.0), (5.0, 30.0)
"""Seconds between two restarts, and how long one takes."""
_AT_ONCE = 8
"""Exams under way together in a finite run."""


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
    """Exams per minute; None: as fast as it goes."""
    by_the_hour: bool = False
    """The rate is that of an ordinary working hour, and mornings are busier than nights."""
    faults: float = 0.0
    fault_weights: Mapping[str, float] | None = None
    """Only these faults, so often compared with each other."""
    group_cases: bool = False
    """Some studies satisfy two orders."""
    reports: bool = False
    """The report system speaks."""
    ai_box: bool = True
    seed: int = 0
    once: bool = False
    history_days: int = 0
    moods: float = 0.0
    """How often HIS, RIS, consoles and the AI box restart: 0 never, 1 now and then, 2 twice as often."""
    clerks: int = 0
    """People at the exceptions queue."""
    patience: float = 120.0
    """Seconds to wait for an answer, for a worklist entry, and for an outcome to change."""
    judged: bool = True
    """Whether the report tells what Fiducial did."""


class Hospital:
    """One run. `stop` closes it at the next pause."""

    def __init__(self, targets: Targets, programme: Programme, stop: Event, say: Callable[[str], None]) -> None:
        self._targets, self._programme, self._stop, self._say = targets, programme, stop, say
        stamp, patience = run_stamp(), programme.patience
        self._planner = Planner(
            seed=programme.seed, stamp=stamp, fault_share=programme.faults, fault_weights=programme.fault_weights,
            habits=Habits(group=0.3 if programme.group_cases else 0.0),
        )  # fmt: skip
        self.traffic = Traffic()
        self.ledger = Ledger(keep=None if programme.once else _KEPT_WITHOUT_END)

        def sender(application: str, facility: str) -> Sender:
            return Sender(
                application, facility, targets.hl7, stamp=stamp, stop=stop, patience=patience, traffic=self.traffic
            )

        def peer(ae_title: str) -> Peer:
            return Peer(*targets.dicom, targets.ae_title, ae_title, stop, patience)

        self._rooms = Rooms(
            senders={
                house.code: (sender(house.his, house.facility), sender(house.ris, house.facility)) for house in HOUSES
            },
            modalities={station.ae_title: Modality(station, peer(station.ae_title)) for station in STATIONS},
            ai_box=ai_box.AiBox(peer(ai_box.AE_TITLE)) if programme.ai_box and not programme.history_days else None,
            reports=programme.reports,
            planner=self._planner,
            stop=stop,
            say=say,
            tempo=HASTY if programme.history_days else BRISK if programme.once else LIFELIKE,
        )
        self._staff = Staff(Api(*targets.http, targets.token), targets.http)
        self._unanswered = Event()
        self._opened = datetime.now().astimezone()
        days, patients = programme.history_days, programme.patients or 0
        self._starts = (
            starts(days=days, patients=patients, seed=programme.seed, now=self._opened) if days else list[datetime]()
        )
        self._at_once = _AT_ONCE if programme.once else 3 * len(STATIONS)
        self._slots = BoundedSemaphore(self._at_once)

    def run(self, archives: Archives | None) -> Report:
        """Let everybody through, wait for the outcome, close; the report. `archives`: those of the hospital's own."""
        self.ledger.archives = archives
        if archives is not None and self._programme.once:
            archives.forget_nothing()
        queue = self._open_queue()
        if queue is not None and not self._programme.once:
            queue.open()
        if self._programme.moods:
            self._restart_now_and_then()
        with ThreadPoolExecutor(self._at_once, thread_name_prefix="exam") as pool:
            try:
                for exam in self._exams():
                    self._admit(pool, exam)
                    if self._programme.once and self._unanswered.is_set():
                        self._say("Fiducial does not answer: no more patients are let in")
                        break
                    rest(self._stop, self._pause())
                while not self._programme.once:
                    rest(self._stop, 3600)
            except Stopped:
                self._say("the hospital closes")
        verified = self._read_outcome(queue)
        try:
            self._staff.dismiss()
        except OSError as error:
            self._say(f"the people at the exceptions queue could not be signed off: {error}")
        for senders in self._rooms.senders.values():
            for sender in senders:
                sender.close()
        return self._report(archives, verified=verified)

    def _restart_now_and_then(self) -> None:
        """Every few minutes a HIS, a RIS, a console or the AI box is down for a while: in a thread of its own."""
        rng = Random(f"{self._programme.seed}:restarts")
        rooms = self._rooms
        systems: list[Sender | Modality | ai_box.AiBox] = [
            *(each for pair in rooms.senders.values() for each in pair),
            *rooms.modalities.values(),
            *([rooms.ai_box] if rooms.ai_box else []),
        ]

        def live() -> None:
            while not self._stop.wait(rng.uniform(*_UP) / self._programme.moods):
                system = rng.choice(systems)
                self._say(f"{system.name} restarts")
                system.restart(rng.uniform(*_DOWN))

        Thread(target=live, name="restarts", daemon=True).start()

    def _pause(self) -> float:
        """Seconds until the next patient comes."""
        programme = self._programme
        if programme.rate is None:
            return 0.0
        return 60 / programme.rate / (bustle(datetime.now().astimezone()) if programme.by_the_hour else 1.0)

    def _exams(self) -> Iterator[Exam]:
        patients = self._programme.patients
        for number in count(1) if patients is None else range(1, patients + 1):
            yield self._planner.exam(number, self._start(number), past=self._programme.history_days > 0)

    def _start(self, number: int) -> datetime:
        """The last full five minutes; in history, by the curve of the days and hours."""
        if self._starts:
            return self._starts[number - 1]
        now = datetime.now().astimezone()
        return now.replace(minute=now.minute - now.minute % 5, second=0, microsecond=0)

    def _admit(self, pool: ThreadPoolExecutor, exam: Exam) -> None:
        while not self._slots.acquire(timeout=0.5):
            rest(self._stop, 0)
        course = Course(exam, self._rooms)
        pool.submit(course.run).add_done_callback(lambda done: self._discharge(course, done))

    def _discharge(self, course: Course, done: Future[list[Entry]]) -> None:
        self._slots.release()
        error, problem = done.exception(), ""
        if error is not None:
            # A defect of the simulator, and it must not look like a quiet day. Its text may hold a name.
            problem = f"the simulator failed: {type(error).__name__}"
            self._say(f"{course.exam.label}: {problem}")
        for entry in done.result() if error is None else course.account(problem):
            self.ledger.add(entry)
            if entry.gave_up:
                self._unanswered.set()

    def _open_queue(self) -> Queue | None:
        """The people at the exceptions queue; None without any, or when nobody lets them in."""
        if not self._programme.clerks or not self._targets.token:
            return None
        try:
            apis = self._staff.hire(self._programme.clerks)
        except OSError as error:
            self._say(f"nobody works at the exceptions queue: {error}")
            return None
        office = Office(
            ledger=self.ledger,
            order_late=self._order_late,
            rng=lambda case: self._planner.rng(case, "clerk"),
            minute=_MINUTE_IN_A_HURRY if self._programme.once else _MINUTE,
            opened=self._opened,
            stop=self._stop,
            patience=self._programme.patience,
            say=self._say,
        )
        return Queue(apis, office)

    def _order_late(self, exam: Exam) -> None:
        """The order of an exam that was done without one."""
        desk = FrontDesk(*self._rooms.senders[exam.house.code], lambda text: self._say(f"{exam.label}: {text}"))
        desk.register(exam, exam.person)
        desk.order(exam, exam.person, exam.steps)

    def _read_outcome(self, queue: Queue | None) -> bool:
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
                if self.ledger.archives is not None:
                    self.ledger.archives.calm_down()
                self.ledger.await_outcome(api, self._stop, self._programme.patience, self._say)
                if queue is not None and queue.work_off():
                    self.ledger.await_outcome(api, self._stop, self._programme.patience, self._say)
            else:
                self.ledger.read_outcome(api)
                self.ledger.leave_the_latest_open(self._programme.patience)
        except Stopped:
            return False
        except OSError as error:
            self._say(f"the API cannot be read: {error}")
            return False
        return True

    def _report(self, archives: Archives | None, *, verified: bool) -> Report:
        counts = self.ledger.report()
        return {
            **{key: value for key, value in counts.items() if key != "details"},
            "messages_sent": self.traffic.sent,
            "messages_refused": self.traffic.refused,
            "verified": verified,
            "seed": self._programme.seed,
            "archive": archives.main.received if archives is not None else {"studies": 0, "instances": 0},
            "details": counts["details"],
            "calendar": calendar(self.ledger.entries),
        }
