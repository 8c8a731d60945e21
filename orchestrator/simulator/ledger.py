"""The ledger of a run: what was sent, to whom it truly belongs, and what Fiducial made of it."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

from orchestrator.simulator.archive import LONGEST_PAUSE
from orchestrator.simulator.archives import Archives
from orchestrator.simulator.clock import Clock
from orchestrator.simulator.faults.expected import Expected
from orchestrator.simulator.judge import judge
from orchestrator.simulator.orders import Exam
from orchestrator.simulator.people import Person
from orchestrator.simulator.reading import Reading
from orchestrator.simulator.rest import Api, Json
from orchestrator.simulator.truth import Found, Judgement, Sent, Verdict, number_of
from orchestrator.simulator.waiting import attempts

ORDINARY, ANOTHER_DAY = "none", "another_day"
"""What is counted under no fault: a study of an exam without one; with images of another day, all the same, apart."""


@dataclass
class Entry(Sent):
    """One study of an exam. Without a Study Instance UID nothing was sent, and `problem` tells why."""

    instances_refused: int = 0
    problem: str = ""
    """What went wrong although Fiducial should have done it: on the wire, or for those who work the queue."""
    gave_up: bool = False
    """Nobody answered for as long as the patience lasts."""
    cut_short: bool = False
    """The hospital closed while the exam was under way: what Fiducial makes of half a story is not judged."""
    clock: Clock = field(default_factory=Clock)
    """The exam's own time, in which several of its studies are made."""
    touched_at: float = 0.0
    """When the hospital last did something about it, in the exam or at the queue (time.monotonic)."""
    read: Judgement = field(default=Judgement(Verdict.NOT_JUDGED, "Fiducial was not asked"))
    found: Found = field(default=Found(None))
    """What the judgement was read from."""

    @property
    def judgement(self) -> Judgement:
        """A wrong match outweighs a problem; a problem outweighs everything else."""
        if self.problem and self.read.verdict is not Verdict.WRONG:
            return Judgement(Verdict.UNEXPLAINED, self.problem)
        return self.read

    @property
    def row(self) -> Expected:
        """What may come of the study, as far as was read."""
        return self.expected(merged=self.found.is_merged)

    @property
    def counted_under(self) -> str:
        return self.exam.fault.name or (ANOTHER_DAY if self.another_day else ORDINARY)

    def touch(self) -> None:
        """From now on Fiducial has something to do with it again."""
        self.touched_at = time.monotonic()

    def judge(self, reading: Reading) -> bool:
        """Read what Fiducial made of the study; tell whether that changed the judgement. Raises OSError."""
        self.found = reading.look(self)
        before, self.read = self.read, judge(self, self.found)
        return before != self.read

    def detail(self) -> dict[str, Any]:
        """The entry in the report: the truth, and what Fiducial made of it."""
        exam, order, fault, judgement = self.exam, self.exam.order, self.exam.fault, self.judgement
        happened = self.what_happened
        return {
            "exam": exam.number,
            "study_instance_uid": self.study_instance_uid or None,
            "verdict": judgement.verdict.label,
            "reason": judgement.reason,
            "fault": fault.name or None,
            "explanation": f"{happened}: {self.row.hold.value}" if happened else "nothing went wrong",
            "cases": [_brief(case, "id", "kind", "reason_code", "status") for case in self.found.cases],
            "told": _told(self.found),
            "site": exam.house.code,
            "station": order.station.ae_title,
            "arrival": exam.arrival.name.lower(),
            "patient": _person(exam.person),
            "accession_number": order.accession_number if fault.is_ordered else None,
            "filler_order_number": order.filler_order_number if fault.is_ordered else None,
            "also_satisfies": [each.accession_number for each in exam.group],
            "steps": [step.sps_id for step in self.steps],
            "neighbour": _neighbour(exam.neighbour),
            "instances": self.instances,
        }


def _told(found: Found) -> dict[str, Any] | None:
    """What Fiducial says of the study, without names: enough to check the judge."""
    if found.study is None:
        return None
    study, numbers = found.study, ("filler_order_number", "accession_number", "status")
    return {
        **_brief(study, "identity", "matched_by", "custody", "number_of_instances"),
        "patient": (study.get("patient") or {}).get("identifiers"),
        "claims": [
            {
                **_brief(claim, "identity", "matched_by", "patient_id", "issuer", "accession_number"),
                "order": _brief(claim["order"], *numbers) if claim["order"] else None,
                "step": _brief(claim["step"], "sps_id", "status") if claim["step"] else None,
            }
            for claim in found.claims
        ],
        "orders": [_brief(order, *numbers) for order in found.orders.values()],
        "archives": {title: len(kept) for title, kept in found.kept.items()},
    }


def _brief(resource: Json, *fields: str) -> Json:
    return {name: resource.get(name) for name in fields}


def _person(person: Person) -> Json:
    return {"value": person.patient_id, "issuer": person.issuer}


def _neighbour(neighbour: Exam | None) -> Json | None:
    """Whose worklist entry plays a part, or who is in the study too."""
    if neighbour is None:
        return None
    filler, accession = number_of(neighbour.order)
    return {
        "patient": _person(neighbour.person), "filler_order_number": filler, "accession_number": accession,
    }  # fmt: skip


class Ledger:
    """All entries of a run. A hospital that never closes keeps only the newest (`keep`)."""

    def __init__(self, keep: int | None = None) -> None:
        self._entries: list[Entry] = []
        self._keep, self._lock = keep, Lock()
        self.archives: Archives | None = None
        """Those that Fiducial delivers to, where they are the hospital's own."""

    def add(self, entry: Entry) -> None:
        entry.touch()
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
        asked, reading = [entry for entry in self._sent if again or not entry.read.settled], Reading(api, self.archives)
        return sum(entry.judge(reading) for entry in asked) > 0

    def await_outcome(self, api: Api, stop: Event, patience: float, say: Callable[[str], None]) -> None:
        """Read until all is settled or nothing has changed for `patience` seconds, and still so when all is read again.

        Raises OSError when the API cannot be read at the end, Stopped when the hospital closes.
        """
        while True:
            while self._changes_within(api, stop, patience, say):
                pass
            # What was right or held early must still be so, and what it became meanwhile may need time too.
            if not self.read_outcome(api, again=True):
                return

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

    def leave_the_latest_open(self, patience: float) -> None:
        """A hospital that closes at once does not call unexplained what had no time to happen: `patience` seconds.

        What is only not at the archive may wait for an archive that was not fine.
        """
        moody = self.archives is not None and self.archives.main.was_moody_within(max(patience, LONGEST_PAUSE))
        for entry in self._sent:
            is_young = time.monotonic() - entry.touched_at < patience
            if entry.read.verdict is Verdict.UNEXPLAINED and (is_young or (moody and entry.read.awaits_archive)):
                entry.read = Judgement(Verdict.NOT_JUDGED, f"the hospital closed early: {entry.read.reason}")

    def report(self) -> dict[str, Any]:
        """The counts that CONTRACT names, and the details. `studies` counts what was sent."""
        entries = sorted(self.entries, key=lambda entry: entry.exam.number)
        verdicts = Counter(entry.judgement.verdict for entry in entries)
        faults = Counter(entry.exam.fault.name for entry in entries if entry.exam.fault.happens)
        by_fault: dict[str, Counter[str]] = {}
        for entry in entries:
            by_fault.setdefault(entry.counted_under, Counter())[_key(entry.judgement.verdict)] += 1
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
