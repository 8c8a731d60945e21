"""The ledger of a run: what was sent, to whom it truly belongs, and what Fiducial made of it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

from orchestrator.simulator.clock import Clock
from orchestrator.simulator.orders import Exam
from orchestrator.simulator.rest import Api
from orchestrator.simulator.truth import Found, Judgement, Merge, Verdict, judge
from orchestrator.simulator.waiting import attempts

ORDINARY = "none"
"""What an exam without a fault is counted under."""


@dataclass
class Entry:
    """One study of an exam. Without a Study Instance UID nothing was sent, and `problem` tells why."""

    exam: Exam
    study_instance_uid: str = ""
    instances: int = 0
    instances_refused: int = 0
    problem: str = ""
    """What went wrong on the wire although Fiducial should have done it."""
    gave_up: bool = False
    """Nobody answered for as long as the patience lasts."""
    cut_short: bool = False
    """The hospital closed while the exam was under way: what Fiducial makes of half a story is not judged."""
    clock: Clock = field(default_factory=Clock)
    """The exam's own time, in which several of its studies are made."""
    merge: Merge | None = None
    """The A40 that was sent about the patient."""
    read: Judgement = field(default=Judgement(Verdict.NOT_JUDGED, "Fiducial was not asked"))
    cases: list[dict[str, Any]] = field(default_factory=list)
    """The open cases about the study, as they were read."""

    @property
    def judgement(self) -> Judgement:
        """A wrong match outweighs a problem on the wire; a problem outweighs everything else."""
        if self.problem and self.read.verdict is not Verdict.WRONG:
            return Judgement(Verdict.UNEXPLAINED, self.problem)
        return self.read

    def judge(self, api: Api) -> bool:
        """Read what Fiducial made of the study; tell whether that changed the judgement. Raises OSError."""
        found = _look(api, self)
        judgement = judge(self.exam, self.instances, self.merge, found)
        changed = judgement != self.read
        self.read, self.cases = judgement, found.cases
        return changed

    def detail(self) -> dict[str, Any]:
        """The entry in the report: the truth, and what Fiducial made of it."""
        exam, order, fault, judgement = self.exam, self.exam.order, self.exam.fault, self.judgement
        return {
            "exam": exam.number,
            "study_instance_uid": self.study_instance_uid or None,
            "verdict": judgement.verdict.value,
            "reason": judgement.reason,
            "fault": fault.name or None,
            "explanation": f"{fault.label}: {fault.hold.value}" if fault.happens else "nothing went wrong",
            "cases": [{key: case.get(key) for key in ("id", "kind", "reason_code", "status")} for case in self.cases],
            "site": exam.house.code,
            "station": order.station.ae_title,
            "arrival": exam.arrival.name.lower(),
            "patient": {"value": exam.person.patient_id, "issuer": exam.person.issuer},
            "accession_number": order.accession_number if fault.is_ordered else None,
            "filler_order_number": order.filler_order_number if fault.is_ordered else None,
            "also_satisfies": [each.accession_number for each in exam.group],
            "instances": self.instances,
        }


def _look(api: Api, entry: Entry) -> Found:
    """Ask only for what the judgement needs. Raises OSError."""
    study = api.study(entry.study_instance_uid)
    if study is None:
        return Found(None)
    held = str(study.get("identity", "")).upper() == "HELD"
    cases = api.open_cases(study_instance_uid=entry.study_instance_uid) if held else []
    if entry.merge is None:
        return Found(study, cases)
    message = api.message(entry.merge.answer.control_id, "ADT^A40")
    merge_cases = api.open_cases(message=message["id"]) if message else []
    return Found(study, cases, message, merge_cases)


class Ledger:
    """All entries of a run. A hospital that never closes keeps only the newest (`keep`)."""

    def __init__(self, keep: int | None = None) -> None:
        self._entries: list[Entry] = []
        self._keep, self._lock = keep, Lock()

    def add(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)
            if self._keep is not None:
                del self._entries[: -self._keep]

    @property
    def entries(self) -> list[Entry]:
        with self._lock:
            return list(self._entries)

    @property
    def _sent(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.study_instance_uid and not entry.cut_short]

    def read_outcome(self, api: Api, *, again: bool = False) -> bool:
        """Judge what is not settled (`again`: everything); tell whether a judgement changed. Raises OSError."""
        asked = [entry for entry in self._sent if again or not entry.read.settled]
        return sum(entry.judge(api) for entry in asked) > 0

    def await_outcome(self, api: Api, stop: Event, patience: float, say: Callable[[str], None]) -> None:
        """Read until all is settled or nothing has changed for `patience` seconds; then read everything once more.

        Raises OSError when the API cannot be read at the end, Stopped when the hospital closes.
        """
        while self._changes_within(api, stop, patience, say):
            pass
        # What was right or held early must still be so.
        self.read_outcome(api, again=True)

    def _changes_within(self, api: Api, stop: Event, patience: float, say: Callable[[str], None]) -> bool:
        """True as soon as a judgement changed and something is left to wait for."""
        for _ in attempts(stop, patience, longest=3):
            try:
                changed = self.read_outcome(api)
            except OSError as error:
                say(f"waiting for the API: {error}")
                continue
            if all(entry.read.settled for entry in self._sent):
                return False
            if changed:
                return True
        return False

    def leave_the_unsettled_open(self) -> None:
        """A hospital that closes at once does not call unexplained what had no time to happen."""
        for entry in self._sent:
            if entry.read.verdict is Verdict.UNEXPLAINED:
                entry.read = Judgement(Verdict.NOT_JUDGED, f"the hospital closed early: {entry.read.reason}")

    def report(self) -> dict[str, Any]:
        """The counts that CONTRACT names, and the details. `studies` counts what was sent."""
        entries = sorted(self.entries, key=lambda entry: entry.exam.number)
        verdicts = Counter(entry.judgement.verdict for entry in entries)
        faults = Counter(entry.exam.fault.name for entry in entries if entry.exam.fault.happens)
        by_fault: dict[str, Counter[str]] = {}
        for entry in entries:
            by_fault.setdefault(entry.exam.fault.name or ORDINARY, Counter())[_key(entry.judgement.verdict)] += 1
        return {
            "studies": sum(bool(entry.study_instance_uid) for entry in entries),
            **{_key(verdict): verdicts[verdict] for verdict in Verdict},
            "instances_sent": sum(entry.instances for entry in entries),
            "instances_refused": sum(entry.instances_refused for entry in entries),
            "faults": dict(sorted(faults.items())),
            "by_fault": {
                name: {_key(verdict): counted[_key(verdict)] for verdict in Verdict}
                for name, counted in sorted(by_fault.items())
            },
            "details": [entry.detail() for entry in entries],
        }


def _key(verdict: Verdict) -> str:
    return verdict.name.lower()
