"""Plans exams: who comes, how, with what order, and what goes wrong on the way.

Each exam draws from generators of its own, so that no other exam, no share and no thread's speed changes it.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

from orchestrator.simulator.faults import FAULTS, ORDINARY, draw
from orchestrator.simulator.faults.fault import Fault
from orchestrator.simulator.orders import CATALOGUE, Arrival, Exam, Order, Procedure, new_uid
from orchestrator.simulator.people import Person, somebody
from orchestrator.simulator.sites import STATIONS, Station
from orchestrator.simulator.spelling import mistyped

STUDY_UID_SENT_SHARE = 0.5
_ARRIVALS = {Arrival.OUTPATIENT: 50, Arrival.WALK_IN: 18, Arrival.WARD: 20, Arrival.EMERGENCY: 12}
_PRIORITIES = {"R": 80, "A": 12, "S": 8}
_TWO_STEPS = ("CT", "NM")
"""Modalities that do one procedure in two steps: without and with contrast, stress and rest."""


@dataclass(frozen=True)
class Habits:
    """How often life takes a turn that is no fault, as shares of the exams in which it can."""

    canceled: float = 0.07
    rescheduled: float = 0.09
    corrected: float = 0.12
    two_procedures: float = 0.07
    two_steps: float = 0.07
    appended: float = 0.08
    group: float = 0.0
    """Of the exams, those whose one study satisfies two orders."""


def run_stamp() -> str:
    """Eight characters that no other run has: the same seed twice against one Fiducial must not collide."""
    return _base36(int(time.time()))[-6:].rjust(6, "0") + _base36(36 + int.from_bytes(os.urandom(2), "big") % 1260)


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[rest] + digits
    return digits


@dataclass(frozen=True)
class Planner:
    """The seed decides people, procedures and faults; the stamp makes the numbers new in every run."""

    seed: int
    stamp: str
    fault_share: float = 0.0
    fault_weights: Mapping[str, float] | None = None
    """How often each fault comes compared with the others (None: all alike); those left out never."""
    habits: Habits = field(default_factory=Habits)

    def rng(self, number: int, purpose: str) -> Random:
        """Randomness of one exam for one purpose, so that no thread's speed changes what another draws."""
        return Random(f"{self.seed}:{number}:{purpose}")

    def uids(self, number: int, purpose: str) -> Random:
        """For UIDs alone: these differ in every run."""
        return Random(f"{self.seed}:{number}:{self.stamp}:{purpose}")

    def exam(self, number: int, start: datetime, *, past: bool = False) -> Exam:
        """The plan of exam `number` (from 1), scheduled at `start` (wall clock)."""
        fault = self._fault(number)
        return self._turn(fault.plan(replace(self.plain(number, start), fault=fault, past=past), self))

    def _fault(self, number: int) -> Fault:
        """Kinds that come equally often are dealt like cards: each comes once before one comes again."""
        rng, weights = self.rng(number, "fault"), self.fault_weights or dict.fromkeys(FAULTS, 1.0)
        if len(set(weights.values())) > 1:
            return draw(rng, self.fault_share, weights)
        turn, place = divmod(number - 1, len(weights))
        return draw(rng, self.fault_share, {self.rng(turn, "deck").sample(list(weights), len(weights))[place]: 1.0})

    def beside(self, exam: Exam) -> Exam:
        """The exam of somebody else: the same procedure, at the same station and time."""
        order = exam.order
        other = self.plain(exam.number, order.start, "Y")
        person = self.person(exam.number, order.station, order.start, "Y")
        ordered = self.order(exam.number, order.station, order.start, "Y")
        return replace(other, person=person, order=replace(ordered, procedure=order.procedure))

    def plain(self, number: int, start: datetime, suffix: str = "") -> Exam:
        """An exam without any turn; `suffix` (one letter) makes another one that plays a part in the same story."""
        rng = self.rng(number, f"plan{suffix}")
        station = rng.choice(STATIONS)
        arrival = rng.choices(list(_ARRIVALS), list(_ARRIVALS.values()))[0]
        if station.portable:
            arrival = Arrival.PORTABLE
        return Exam(
            number=number,
            person=self.person(number, station, start, suffix),
            visit_number=f"V{self.stamp}{number}{suffix}",
            arrival=arrival,
            order=self.order(number, station, start, suffix, priority="S" if arrival is Arrival.EMERGENCY else ""),
            fault=ORDINARY,
        )

    def person(self, number: int, station: Station, start: datetime, suffix: str = "") -> Person:
        """Somebody registered in the house of the station."""
        house = station.house
        # Of two houses that number alike, the same number is given to different people.
        own = number - 1 if house.code == "SOUTH" else number
        patient_id = house.patient_id.format(tail=f"{self.stamp}{own}{suffix}")
        return somebody(self.rng(number, f"person{suffix}"), patient_id, house.issuer, start.date())

    def order(
        self, number: int, station: Station, start: datetime, suffix: str = "", *, priority: str = "",
        besides: Procedure | None = None,
    ) -> Order:  # fmt: skip
        """An order for the station, for another procedure than `besides` where it has one."""
        rng, house, tail = self.rng(number, f"order{suffix}"), station.house, f"{self.stamp}{number}{suffix}"
        procedures = [each for each in CATALOGUE if each.modality == station.modality]
        others = [each for each in procedures if each != besides] or procedures
        uid = new_uid(self.uids(number, f"order{suffix}"))
        return Order(
            placer_order_number=house.placer_order_number.format(tail=tail),
            filler_order_number=house.filler_order_number.format(tail=tail),
            accession_number=house.accession_number.format(tail=tail),
            requested_procedure_id=house.requested_procedure_id.format(tail=tail),
            sps_id=house.sps_id.format(tail=tail),
            procedure=rng.choice(others),
            station=station,
            start=start,
            priority=priority or rng.choices(list(_PRIORITIES), list(_PRIORITIES.values()))[0],
            study_instance_uid=uid if rng.random() < STUDY_UID_SENT_SHARE else "",
        )

    def _turn(self, exam: Exam) -> Exam:
        """What happens to an exam that is no fault, and may come beside one."""
        rng, habits, order = self.rng(exam.number, "turn"), self.habits, exam.order
        modality = order.station.modality
        turns = {
            "canceled": habits.canceled,
            "rescheduled": habits.rescheduled,
            "corrected": habits.corrected,
            "appended": habits.appended,
            "two_procedures": habits.two_procedures,
            "two_steps": habits.two_steps if modality in _TWO_STEPS else 0.0,
            "group": habits.group if modality == "CT" else 0.0,
        }
        possible = {turn: share if turn in exam.fault.turns else 0.0 for turn, share in turns.items()}
        turn = rng.choices(["", *possible], [max(0.0, 1 - sum(possible.values())), *possible.values()])[0]
        another = self.order(exam.number, order.station, order.start, "X", besides=order.procedure)
        match turn:
            case "canceled":
                return replace(exam, canceled=another)
            case "rescheduled":
                return replace(exam, ordered_as=replace(order, start=_another_time(rng, order.start)))
            case "corrected":
                return replace(exam, registered_as=mistyped(rng, exam.person))
            case "appended":
                return replace(exam, appended=True)
            case "group":
                return replace(exam, group=(another,))
            case "two_procedures" | "two_steps":
                return replace(exam, further=(_same_order(order, another, same_study=turn == "two_steps"),))
        return exam


def _same_order(order: Order, another: Order, *, same_study: bool) -> Order:
    """One more step of the order: of its procedure, or of one more procedure, which has a study of its own."""
    if same_study:
        return replace(order, sps_id=another.sps_id)
    return replace(
        order, requested_procedure_id=another.requested_procedure_id, sps_id=another.sps_id,
        procedure=another.procedure, study_instance_uid=another.study_instance_uid,
    )  # fmt: skip


def _another_time(rng: Random, start: datetime) -> datetime:
    """Ten minutes away on the same day, or the day after."""
    later = start + timedelta(minutes=10)
    same_day = later if later.date() == start.date() else start - timedelta(minutes=10)
    return rng.choice((same_day, start + timedelta(days=1)))
