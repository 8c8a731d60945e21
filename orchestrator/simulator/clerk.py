"""The people who work the exceptions queue, through the REST API: where a real one would phone and ask, these know."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from threading import Event, Lock, Thread

from orchestrator.simulator.almanac import delay, seen_at
from orchestrator.simulator.faults.expected import ABOUT_IMAGES
from orchestrator.simulator.ledger import Entry, Ledger
from orchestrator.simulator.orders import Exam
from orchestrator.simulator.rest import Api, Json
from orchestrator.simulator.truth import UNMATCHED_AFTER_DELIVERY
from orchestrator.simulator.waiting import GaveUp, Stopped, attempts, rest

_DISMISSED = {
    "mpps_conflict": "The station's list of work was started twice, the images are right.",
    "already_delivered": "The archive has it, the note is enough.",
}
_KNOWN = (
    "Phoned the station: the technologist confirms the patient.",
    "Wristband and request form agree.",
    "Request form scanned under this accession number.",
    "The referring physician confirms the request.",
)
_LEFT_SHARE, _UNCLEAR_SHARE, _HANDED_BACK_SHARE = 0.1, 0.02, 0.06


@dataclass(frozen=True)
class Office:
    """What the people at the queue share."""

    ledger: Ledger
    order_late: Callable[[Exam], None]
    """The RIS places the order of an exam that was done without one."""
    rng: Callable[[int], Random]
    """The chance of one case."""
    minute: float
    """Seconds that a minute of theirs takes, where it is not history that is played."""
    opened: datetime
    """When the run began: in history, what would be done later is left for the next day."""
    stop: Event
    patience: float
    say: Callable[[str], None]

    def entry(self, case: Json) -> Entry | None:
        uid = case["study_instance_uid"]
        return next((each for each in self.ledger.entries if uid and each.study_instance_uid == uid), None)


@dataclass(frozen=True)
class _Plan:
    """What becomes of one case: when it is taken up, when it is settled, and what comes between."""

    opened: datetime
    taken: datetime
    settled: datetime
    left: bool
    """Nobody comes to it today."""
    unclear: bool
    """Nobody finds out: it goes to somebody who may."""
    handed_back: bool


class Clerk:
    """One person at the queue. `colleagues` take on what this one hands back."""

    def __init__(self, api: Api, office: Office) -> None:
        self.api, self._office = api, office

    def work_on(self, case: Json, colleague: "Clerk") -> bool:
        """Do with one open case what its plan says; whether anything was done. Raises OSError, Stopped."""
        office, entry = self._office, self._office.entry(case)
        if entry is None or not entry.row.explains(case["kind"], case["reason_code"]):
            # Nothing that went wrong explains it: settled, a defect would look like a day's work.
            return False
        if case["reason_code"] == UNMATCHED_AFTER_DELIVERY and self._is_held(case["study_instance_uid"]):
            # As long as nobody knows whose images these are, nothing else says where they lie.
            return False
        known = case["kind"] in ABOUT_IMAGES
        if not known and case["kind"] not in _DISMISSED:
            return False
        plan = self._plan(case, entry)
        if plan.left:
            return False
        self._pass(entry, plan.opened, plan.taken)
        entry.touch()
        self._do(case, "claim", "I look into it.")
        if plan.unclear:
            self._do(case, "escalate", "Nobody at the station remembers this patient.", to=None)
            return True
        worker = self
        if plan.handed_back:
            self._do(case, "hand-back", "End of my shift, the ward did not answer.")
            worker = colleague
            worker._do(case, "claim", "I go on with it.")
        if entry.clock.turns and plan.settled > office.opened:
            return True
        self._pass(entry, plan.taken, plan.settled)
        if known:
            worker._match(case, entry, office.rng(case["id"]))
        else:
            worker._do(case, "dismiss", _DISMISSED[case["kind"]])
        entry.touch()
        return True

    def _plan(self, case: Json, entry: Entry) -> _Plan:
        rng, opened = self._office.rng(case["id"]), datetime.fromisoformat(case["opened_at"]).astimezone()
        settling, chance = timedelta(minutes=rng.triangular(2, 40, 6)), rng.random()
        # Two people in one study: whoever can part them, nobody at the queue can.
        mixed = case["kind"] == "study_uid_conflict" or entry.exam.fault.mixes
        unclear, handed_back = mixed or rng.random() < _UNCLEAR_SHARE, rng.random() < _HANDED_BACK_SHARE
        if entry.clock.turns:
            truly = entry.clock.at(opened)
            taken = seen_at(rng, truly)
            return _Plan(truly, taken, taken + settling, taken > self._office.opened, unclear, handed_back)
        taken = opened + delay(rng)
        return _Plan(opened, taken, taken + settling, chance < _LEFT_SHARE, unclear, handed_back)

    def _pass(self, entry: Entry, since: datetime, until: datetime) -> None:
        """It becomes `until`: at once in history, else after as long as a minute takes."""
        office = self._office
        if entry.clock.turns:
            entry.clock.turn(until)
        else:
            rest(office.stop, (until - since).total_seconds() / 60 * office.minute)

    def _is_held(self, study_instance_uid: str) -> bool:
        study = self.api.study(study_instance_uid) or {}
        return any(claim["identity"] == "HELD" for claim in study.get("claims", []))

    def _match(self, case: Json, entry: Entry, rng: Random) -> None:
        """The images belong to the order that they truly belong to; where there was none, one is asked for.

        Where it is there and was not offered, the entry says so: a real person would not have found it.
        """
        exam, number = entry.exam, entry.exam.order.filler_order_number
        candidates = self.api.rows(f"exceptions/{case['id']}/candidates/")
        order = next((each["order"] for each in candidates if each["order"]["filler_order_number"] == number), None)
        reason = rng.choice(_KNOWN)
        if order is None:
            if exam.fault.is_ordered:
                entry.problem = f"the true order is not among the candidates of case {case['id']}"
            else:
                self._office.order_late(exam)
                reason = "Emergency: the order was placed afterwards."
            order = self._order(number)
        self._do(case, "match", reason, order=order["id"])
        self._office.say(f"case {case['id']} of exam {exam.number} is settled: {case['kind']}")

    def _order(self, filler_order_number: str) -> Json:
        """The order with that number, once it is there."""
        for _ in attempts(self._office.stop, self._office.patience):
            if found := self.api.rows(f"orders/?filler_order_number={filler_order_number}"):
                return found[0]
        raise GaveUp("the order never came to Fiducial")

    def _do(self, case: Json, action: str, reason: str, **more: object) -> None:
        self.api.call("POST", f"exceptions/{case['id']}/{action}/", {"reason": reason, **more})


class Queue:
    """The people at work, each at one case at a time, the oldest first."""

    def __init__(self, apis: Sequence[Api], office: Office) -> None:
        self._clerks = [Clerk(api, office) for api in apis]
        self._api, self._office = apis[0], office
        self._seen, self._lock = set[int](), Lock()

    def work_off(self) -> int:
        """Until nobody has anything more to do; how many cases were worked on. Raises Stopped."""
        with ThreadPoolExecutor(len(self._clerks), thread_name_prefix="clerk") as pool:
            return sum(pool.map(lambda number: self._work(number, until_idle=True), range(len(self._clerks))))

    def open(self) -> None:
        """Work in the background until the hospital closes."""
        for number in range(len(self._clerks)):
            Thread(target=self._stay, args=(number,), name=f"clerk {number}", daemon=True).start()

    def _stay(self, number: int) -> None:
        with suppress(Stopped):
            self._work(number, until_idle=False)

    def _work(self, number: int, *, until_idle: bool) -> int:
        clerk, colleague = self._clerks[number], self._clerks[(number + 1) % len(self._clerks)]
        done = 0
        while True:
            case = self._next()
            if case is None and until_idle:
                return done
            if case is None:
                rest(self._office.stop, 2)
                continue
            try:
                done += clerk.work_on(case, colleague)
            except (GaveUp, OSError) as trouble:
                # Somebody else was faster, or Fiducial is away: another one's, another time.
                self._office.say(f"case {case['id']} is left: {trouble}")

    def _next(self) -> Json | None:
        """The oldest open case about a study of an exam that is over that nobody has looked at in this run."""
        with self._lock:
            try:
                waiting = self._api.rows("exceptions/?status=open&page_size=1000")
            except OSError:
                return None
            # What is settled never comes again, and need not be remembered.
            self._seen &= {each["id"] for each in waiting}
            # Of an exam that is under way nobody can say yet what explains its case.
            over = {entry.study_instance_uid for entry in self._office.ledger.entries}
            ready = (each for each in reversed(waiting) if each["study_instance_uid"] in over)
            case = next((each for each in ready if each["id"] not in self._seen), None)
            if case is not None:
                self._seen.add(case["id"])
            return case
