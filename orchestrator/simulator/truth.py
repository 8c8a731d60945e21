"""The truth of a study that was sent, and what Fiducial is found to have made of it: what a judge compares."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from orchestrator.simulator.archive import Kept
from orchestrator.simulator.faults import Hold
from orchestrator.simulator.faults.expected import ANOTHER_DAY, NOTHING, Expected
from orchestrator.simulator.mllp_out import Answer
from orchestrator.simulator.orders import Exam, Order
from orchestrator.simulator.people import Person
from orchestrator.simulator.rest import Json

Number = tuple[str, str]
"""Filler order and accession number of an order; id and issuer of a patient; control id and type of a message."""


UNMATCHED_AFTER_DELIVERY = "UNMATCHED_AFTER_DELIVERY"
"""Why a case says that images which are held lie in an archive."""


class Verdict(IntEnum):
    """The worse the greater.

    RIGHT: matched to the true patient and order. HELD: a person is asked, and a fault explains why.
    UNEXPLAINED: all the rest, a defect until shown otherwise. WRONG: matched to anybody or anything else, or by a
    guess.
    """

    NOT_JUDGED = 0
    RIGHT = 1
    HELD = 2
    UNEXPLAINED = 3
    WRONG = 4

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class Judgement:
    verdict: Verdict
    reason: str
    awaits_archive: bool = False
    """Nothing but the delivery is missing."""

    @property
    def settled(self) -> bool:
        """Otherwise more time may still change it for the better."""
        return self.verdict in (Verdict.RIGHT, Verdict.HELD)


@dataclass(frozen=True)
class Merge:
    """An A40 that was sent, and what was answered."""

    subsumed: Person
    answer: Answer


@dataclass
class Sent:
    """What was sent under one Study Instance UID."""

    exam: Exam
    study_instance_uid: str = ""
    steps: list[Order] = field(default_factory=list)
    """Those that were performed in this study for the exam's own patient."""
    own: set[str] = field(default_factory=set)
    """SOP Instance UIDs of what was acquired of the exam's patient,"""
    others: set[str] = field(default_factory=set)
    """of the other patient in the same study,"""
    derived: dict[str, str] = field(default_factory=dict)
    """and of what the AI box made of them, each with the object that it was made of."""
    spared: bool = False
    """The fault is not in this study but in another one of the exam."""
    another_day: bool = False
    """By the console's clock it was another day than that of the order."""
    merge: Merge | None = None
    """The A40 that was sent about the patient."""
    messages: set[Number] = field(default_factory=set)
    """The registrations and orders that were sent."""

    def note(self, steps: Sequence[Order], *, spared: bool, another_day: bool) -> None:
        """These steps were performed, or the other patient's."""
        self.steps += [step for step in steps if step not in self.steps]
        self.spared = spared
        self.another_day = self.another_day or another_day

    @property
    def what_happened(self) -> str:
        """What went wrong in this study, in words; empty where nothing did."""
        day = "images of another day than the order's" if self.another_day else ""
        return ", ".join(filter(None, ("" if self.spared else self.exam.fault.label, day)))

    @property
    def instances(self) -> int:
        return len(self.own) + len(self.others) + len(self.derived)

    def expected(self, *, merged: bool) -> Expected:
        """The row of the table, as far as it applies to this study; `merged`: the A40 was applied."""
        row = NOTHING if self.spared else self.exam.fault.expected
        if row.hold is Hold.FAIR and not self.exam.fault.garbles(self.exam.known_as):
            row = replace(NOTHING, steps=row.steps)
        if row.needs_merge and merged:
            row = replace(NOTHING, steps=row.steps)
        if self.another_day:
            kinds, reasons = row.kinds | ANOTHER_DAY.kinds, row.reasons | ANOTHER_DAY.reasons
            return replace(row, hold=Hold.NEEDED, kinds=kinds, reasons=reasons)
        return row


@dataclass(frozen=True)
class Found:
    """What the API tells of a study and of the story around it, and what the archives hold of it."""

    study: Json | None
    cases: list[Json] = field(default_factory=list)
    """Cases about the study, its performed steps and the exam's messages that are not settled."""
    offered: Mapping[int, frozenset[Number]] = field(default_factory=dict)
    """The orders among the candidates of the cases that ask whose images these are."""
    orders: Mapping[Number, Json] = field(default_factory=dict)
    """Those of the plan that Fiducial knows."""
    merge_message: Json | None = None
    """The A40 as it was received."""
    merge_cases: list[Json] = field(default_factory=list)
    """Cases about the A40, settled or not."""
    is_premature: bool = False
    """Whether something was matched by itself before the A40 was applied."""
    kept: Mapping[str, Mapping[str, Kept]] = field(default_factory=dict)
    """By archive and SOP Instance UID; none where the archives are not ours."""
    all_to: str = ""
    """The archive that everything is to be sent to by the rules in force."""

    @property
    def is_merged(self) -> bool:
        return (self.merge_message or {}).get("status") == "APPLIED"

    @property
    def claims(self) -> list[Json]:
        """Of what was acquired; what is derived needs no order."""
        claims = (self.study or {}).get("claims", [])
        return [each for each in claims if each.get("number_of_instances", 1) and _is_acquired(each)]


def _is_acquired(claim: Json) -> bool:
    return claim.get("purpose", "ACQUIRED") in ("ACQUIRED", "IMPORTED")


def number_of(order: Order | Json | None) -> Number:
    """An order's numbers, in the plan or as the API tells them."""
    if isinstance(order, Order):
        return order.filler_order_number, order.accession_number
    told = order or {}
    return str(told.get("filler_order_number")), str(told.get("accession_number"))


def identifier_of(person: Person) -> Number:
    return person.patient_id, person.issuer


def identifiers(patient: Json | None) -> set[Number]:
    """Those of a record, with their issuers."""
    return {(str(each.get("value")), str(each.get("issuer"))) for each in (patient or {}).get("identifiers", [])}


def planned_orders(exam: Exam) -> Iterator[Order]:
    """All orders of which the outcome tells something."""
    yield from (exam.order, *exam.group)
    if exam.canceled is not None:
        yield exam.canceled
    if exam.neighbour is not None:
        yield exam.neighbour.order
