"""The plan of an exam: who comes, what was ordered, where it is done, and what goes wrong on the way."""

import os
import time
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from orchestrator.simulator import faults
from orchestrator.simulator.faults import Fault
from orchestrator.simulator.people import Person, mistyped, somebody

CORRECTED_SHARE = 0.15
CHANGED_SHARE = 0.10
CANCELED_SHARE = 0.08
STUDY_UID_SENT_SHARE = 0.5

CODING_SCHEME = "99NORTH"
"""Private schemes begin with 99 (PS3.3 §8.2)."""


@dataclass(frozen=True)
class Procedure:
    """One row of the hospital's procedure catalogue."""

    code: str
    meaning: str
    modality: str
    station: str
    body_part: str
    laterality: str = ""


CATALOGUE = (
    Procedure("CTHEAD", "CT head without contrast", "CT", "CT_NORTH", "HEAD"),
    Procedure("CTCHEST", "CT chest with contrast", "CT", "CT_NORTH", "CHEST"),
    Procedure("MRBRAIN", "MR brain", "MR", "MR_NORTH", "BRAIN"),
    Procedure("MRKNEE", "MR left knee", "MR", "MR_NORTH", "KNEE", "L"),
    Procedure("CRCHEST", "Chest two views", "CR", "CR_NORTH", "CHEST"),
    Procedure("CRHAND", "Right hand two views", "CR", "CR_NORTH", "HAND", "R"),
    Procedure("USABD", "Ultrasound abdomen", "US", "US_NORTH", "ABDOMEN"),
    Procedure("USHEART", "Echocardiography", "US", "US_NORTH", "HEART"),
)
STATIONS = tuple(dict.fromkeys(procedure.station for procedure in CATALOGUE))


@dataclass(frozen=True)
class Order:
    """One order with one requested procedure and one scheduled step.

    `study_instance_uid` is empty when the RIS sends none: then the worklist tells the modality.
    """

    placer_order_number: str
    filler_order_number: str
    accession_number: str
    requested_procedure_id: str
    sps_id: str
    procedure: Procedure
    start: datetime
    priority: str
    study_instance_uid: str


@dataclass(frozen=True)
class Exam:
    """What will happen to one patient. `person` and `order` are the truth, whatever the messages say on the way."""

    number: int
    person: Person
    visit_number: str
    inpatient: bool
    order: Order
    fault: Fault | None = None
    registered_as: Person | None = None
    """How registration first spelt the person, until an A08 corrects it."""
    ordered_as: Order | None = None
    """The order before an XO changed it."""
    canceled: Order | None = None
    """An order that is canceled before the right one is placed."""
    neighbour: "Exam | None" = None
    """The other patient whose worklist entry is chosen by mistake."""
    past: bool = False
    """History: the exam was done at its scheduled time, not now."""

    @property
    def label(self) -> str:
        """Names the exam in a log line: no name, no patient id."""
        return f"exam {self.number} {self.order.procedure.station} {self.order.accession_number}"

    @property
    def has_order(self) -> bool:
        return self.fault is not Fault.NO_ORDER


def new_uid(rng: Random) -> str:
    """A UID under 2.25, made from a UUID (PS3.5 §B.2)."""
    return f"2.25.{uuid.UUID(int=rng.getrandbits(128), version=4).int}"


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[rest] + digits
    return digits


def run_stamp() -> str:
    """Eight characters that no other run has: the same seed twice against one Fiducial must not collide."""
    return _base36(int(time.time()))[-6:].rjust(6, "0") + _base36(36 + int.from_bytes(os.urandom(2), "big") % 1260)


class Planner:
    """Plans exams. The seed decides people, procedures and faults; the stamp makes the numbers new in every run."""

    def __init__(self, *, seed: int, stamp: str, fault_share: float) -> None:
        self._seed, self._stamp, self._fault_share = seed, stamp, fault_share

    def rng(self, number: int, purpose: str) -> Random:
        """Randomness of one exam for one purpose, so that no thread's speed changes what another draws."""
        return Random(f"{self._seed}:{number}:{purpose}")

    def uids(self, number: int, purpose: str) -> Random:
        """For UIDs alone: these differ in every run."""
        return Random(f"{self._seed}:{number}:{self._stamp}:{purpose}")

    def exam(self, number: int, start: datetime, *, past: bool = False) -> Exam:
        """The plan of exam `number` (from 1), scheduled at `start` (wall clock)."""
        rng = self.rng(number, "plan")
        fault = faults.draw(rng, self._fault_share)
        exam = self._plain(number, "", start, rng)
        exam = replace(exam, fault=fault, past=past)
        mishap = rng.random()
        if fault is not None and fault is not Fault.MESSAGE_TWICE:
            return self._with_fault(exam, fault, start)
        if mishap < CANCELED_SHARE:
            return replace(exam, canceled=self._order(number, "X", start, rng))
        if mishap < CANCELED_SHARE + CHANGED_SHARE:
            return replace(exam, ordered_as=replace(exam.order, start=_another_time(exam.order.start)))
        if mishap < CANCELED_SHARE + CHANGED_SHARE + CORRECTED_SHARE:
            return replace(exam, registered_as=mistyped(rng, exam.person))
        return exam

    def _with_fault(self, exam: Exam, fault: Fault, start: datetime) -> Exam:
        if fault is Fault.ORDER_AFTER_IMAGES:
            return replace(exam, order=replace(exam.order, study_instance_uid=""))
        if fault is Fault.ORDER_ADOPTS_STUDY:
            uid = new_uid(self.uids(exam.number, "adopted"))
            return replace(exam, order=replace(exam.order, study_instance_uid=uid))
        if fault.takes_a_wrong_entry:
            rng = self.rng(exam.number, "neighbour")
            other = self._plain(exam.number, "Y", start, rng)
            # The two entries stand on the same station's list, one row apart.
            return replace(exam, neighbour=replace(other, order=replace(other.order, procedure=exam.order.procedure)))
        return exam

    def _plain(self, number: int, suffix: str, start: datetime, rng: Random) -> Exam:
        return Exam(
            number=number,
            # A leading zero, because identifiers are strings and somebody always forgets.
            person=somebody(rng, f"0{self._stamp}{number}{suffix}", start.date()),
            visit_number=f"V{self._stamp}{number}{suffix}",
            inpatient=rng.random() < 0.3,
            order=self._order(number, suffix, start, rng),
        )

    def _order(self, number: int, suffix: str, start: datetime, rng: Random) -> Order:
        uids = self.uids(number, f"order{suffix}")
        tail = f"{self._stamp}{number}{suffix}"
        return Order(
            placer_order_number=f"P{tail}",
            filler_order_number=f"F{tail}",
            accession_number=f"A{tail}",
            requested_procedure_id=f"R{tail}",
            sps_id=f"S{tail}",
            procedure=rng.choice(CATALOGUE),
            start=start,
            priority=rng.choices(("R", "A", "S"), weights=(80, 12, 8))[0],
            study_instance_uid=new_uid(uids) if rng.random() < STUDY_UID_SENT_SHARE else "",
        )


def _another_time(start: datetime) -> datetime:
    """Ten minutes away on the same day."""
    later = start + timedelta(minutes=10)
    return later if later.date() == start.date() else start - timedelta(minutes=10)
