"""The course of one exam, from the front desk to the last object sent, as it goes when nothing goes wrong.

Where something may go wrong the course asks its fault (simulator/faults), which by itself does the ordinary thing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from orchestrator.simulator.almanac import begun_after, ordered_before
from orchestrator.simulator.clock import Clock
from orchestrator.simulator.console import Identity, scheduled_step, text
from orchestrator.simulator.desk import FrontDesk
from orchestrator.simulator.images import Acquisition, acquire
from orchestrator.simulator.ledger import Entry
from orchestrator.simulator.modality import Modality
from orchestrator.simulator.orders import Exam, Order, new_uid
from orchestrator.simulator.people import Person
from orchestrator.simulator.truth import Merge
from orchestrator.simulator.waiting import GaveUp, Refused, Stopped, rest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.simulator.ai_box import AiBox
    from orchestrator.simulator.mllp_out import Sender
    from orchestrator.simulator.planner import Planner


@dataclass(frozen=True)
class Tempo:
    """Pauses in seconds: how long an acquisition takes, and how long the hour after which things come late."""

    acquisition: tuple[float, float]
    hour: float


LIFELIKE = Tempo(acquisition=(2, 8), hour=45)
BRISK = Tempo(acquisition=(0, 0.3), hour=10)
HASTY = Tempo(acquisition=(0, 0), hour=6)
"""For history: an hour only as long as Fiducial needs to notice."""


@dataclass(frozen=True)
class Rooms:
    """Everything an exam needs of the hospital."""

    senders: "Mapping[str, tuple[Sender, Sender]]"
    """HIS and RIS by the code of their house."""
    modalities: Mapping[str, Modality]
    """By AE title."""
    ai_box: "AiBox | None"
    reports: bool
    """Whether a radiologist reports what was made."""
    planner: "Planner"
    stop: Event
    say: Callable[[str], None]
    tempo: Tempo


class Course:
    """One exam under way. `entries`: what the ledger will know of it, one for each study."""

    def __init__(self, exam: Exam, rooms: Rooms) -> None:
        self.exam, self._rooms = exam, rooms
        self.rng = rooms.planner.rng(exam.number, "course")
        self._uids = rooms.planner.uids(exam.number, "course")
        his, ris = rooms.senders[exam.house.code]
        self.desk = FrontDesk(his, ris, self._say, **exam.fault.desk)
        self.entries: list[Entry] = []
        self.merge_told: Merge | None = None
        self.clock, self._almanac = Clock(), rooms.planner.rng(exam.number, "almanac")
        self._spared = set[str]()
        """Studies in which nothing goes wrong, though in others of the exam something does."""
        self.later: list[Dataset] = []
        """Objects that are still to be sent."""

    def run(self) -> list[Entry]:
        """Take the patient through, as far as it goes; the entries for the ledger."""
        exam = self.exam
        if exam.fault.happens:
            self._say(f"fault: {exam.fault.label}")
        try:
            self._turn(exam.order.start - ordered_before(self._almanac))
            exam.fault.arrive(self)
            for step in exam.steps:
                with self._at_the_console():
                    exam.fault.examine(self, step)
            exam.fault.afterwards(self)
            self._report()
        except Stopped:
            return self.account(cut_short=True)
        except (GaveUp, Refused) as error:
            self._say(f"problem: {error}")
            return self.account(str(error), gave_up=isinstance(error, GaveUp))
        return self.account()

    def account(self, problem: str = "", *, gave_up: bool = False, cut_short: bool = False) -> list[Entry]:
        """What became of the exam: an entry a study, and one where nothing was sent. All of them share its clock."""
        entries = self.entries or [Entry(self.exam, clock=self.clock)]
        entries[-1].problem, entries[-1].gave_up = problem, gave_up
        for entry in entries:
            entry.merge, entry.messages, entry.cut_short = self.merge_told, self.desk.told, cut_short
        return entries

    def _say(self, text: str) -> None:
        self._rooms.say(f"{self.exam.label}: {text}")

    def uid(self) -> str:
        """A new UID of this exam's modality."""
        return new_uid(self._uids)

    def rest_an_hour(self) -> None:
        """As long as an hour is in this hospital."""
        rest(self._rooms.stop, self._rooms.tempo.hour)
        self._turn(self.clock.now() + timedelta(hours=1))

    def _turn(self, to: datetime) -> None:
        """In history it is another time now."""
        if self.exam.past:
            self.clock.turn(to)

    # --- at the desk ----------------------------------------------------------------------------

    def arrive(self) -> None:
        """Registered, ordered; some are spelt wrong first, some moved, some ordered wrong and canceled."""
        self.register()
        self.place_order()

    def register(self) -> None:
        self.desk.register(self.exam, self.exam.registered_as or self.exam.known_as)

    def place_order(self) -> None:
        exam, desk = self.exam, self.desk
        shown = exam.registered_as or exam.known_as
        if exam.canceled is not None:
            self._place_and_cancel(exam.canceled)
        first = exam.ordered_as or exam.order
        desk.order(exam, shown, (first, *exam.further))
        for other in exam.group:
            desk.order(exam, shown, [other])
        if exam.ordered_as is not None:
            desk.order(exam, shown, [exam.order], "XO")
        if exam.registered_as is not None:
            desk.correct(exam, exam.person)

    @property
    def neighbour(self) -> Exam:
        """The exam beside this one, for faults that plan one."""
        if self.exam.neighbour is None:
            raise ValueError("nobody beside the exam")
        return self.exam.neighbour

    def tell_of(self, neighbour: Exam) -> None:
        """The other one is registered, where it is another patient, and has the order."""
        if neighbour.person != self.exam.person:
            self.desk.register(neighbour, neighbour.person)
        self.desk.order(neighbour, neighbour.person, [neighbour.order])

    def merge(self) -> None:
        """A40: the record of before lives on in the person's own."""
        if self.exam.subsumed is None:
            raise ValueError("nobody to merge")
        answer = self.desk.merge(self.exam.person, self.exam.subsumed)
        self.merge_told = Merge(self.exam.subsumed, answer)

    def _place_and_cancel(self, order: Order) -> None:
        """An order that somebody takes back once the console has seen it; it must leave the worklist."""
        modality = self._rooms.modalities[order.station.ae_title]
        self.desk.order(self.exam, self.exam.known_as, [order])
        self.on_worklist(order)
        self.desk.order(self.exam, self.exam.known_as, [order], "CA")
        if not modality.loses(order.start.date(), _is_of(order)):
            raise Refused("the canceled step stays on the worklist")

    # --- at the console -------------------------------------------------------------------------

    @contextmanager
    def _at_the_console(self) -> "Iterator[None]":
        """One patient at a time on the table."""
        while not self._modality.busy.acquire(timeout=0.5):
            rest(self._rooms.stop, 0)
        try:
            yield
        finally:
            self._modality.busy.release()

    @property
    def _modality(self) -> Modality:
        return self._rooms.modalities[self.exam.order.station.ae_title]

    def typed(self, study_instance_uid: str = "", accession_number: str = "") -> Identity:
        """Entered by hand, without the worklist: under a study UID of the modality's own."""
        return Identity.typed(self.exam.person, study_instance_uid or self.uid(), accession_number)

    def chosen(self, step: Order) -> Identity:
        """The step's own worklist entry, once it shows what was last told to Fiducial."""
        exam = self.exam
        entry = self.entry_of(exam, step)
        if step.study_instance_uid not in ("", text(entry, "StudyInstanceUID")):
            raise Refused("the worklist shows another Study Instance UID than was ordered")
        identity = Identity.from_worklist(entry)
        if not exam.group:
            return identity
        also = tuple(Identity.from_worklist(self.entry_of(exam, other)) for other in exam.group)
        # One study for several orders (PS3.17, group case): none of their accession numbers is that of the study.
        return replace(identity, also=also, accession_number="", requests_accession_number=identity.accession_number)

    def entry_of(self, exam: Exam, step: Order) -> Dataset:
        """The entry of somebody's step, once all that it shows of the patient, and its time, are true."""
        return self.on_worklist(step, lambda entry: differs(exam.known_as, step, entry))

    def on_worklist(self, order: Order, wrong_in: Callable[[Dataset], str] = lambda entry: "") -> Dataset:
        """The entry of a step, asked for until it is there and shows nothing that `wrong_in` names. Raises Refused."""
        asked, is_of, trouble = time.monotonic(), _is_of(order), "the step never came to the worklist"

        def is_wanted(entry: Dataset) -> bool:
            nonlocal trouble
            if not is_of(entry):
                return False
            wrong = wrong_in(entry)
            trouble = f"the worklist shows another {wrong}"
            return not wrong

        entry = self._rooms.modalities[order.station.ae_title].find(order.start.date(), is_wanted)
        if entry is None:
            raise Refused(trouble)
        if not text(entry, "StudyInstanceUID"):
            raise Refused("the worklist entry has no Study Instance UID")
        self._say(f"on the worklist after {time.monotonic() - asked:.1f} s")
        return entry

    # --- the exam -------------------------------------------------------------------------------

    def examine(self, step: Order, identity: Identity) -> None:
        """MPPS, images, MPPS; and once more where something was forgotten (append)."""
        self.perform(step, identity)
        if self.exam.appended:
            self.perform(step, identity, first_series=11)

    def spare(self, step: Order) -> None:
        """Of this step all goes as it should, whatever becomes of the others."""
        identity = self.chosen(step)
        self._spared.add(identity.study_instance_uid)
        self.examine(step, identity)

    def perform(self, step: Order, identity: Identity, *, first_series: int = 1) -> None:
        """One performed step: begun, acquired, sent, finished."""
        fault, modality, spared = self.exam.fault, self._modality, identity.study_instance_uid in self._spared
        self._turn(step.start + begun_after(self._almanac, step.start))
        begun, mpps_uid = self.now(), self.uid() if fault.begins_mpps else ""
        if mpps_uid:
            modality.begin(mpps_uid, identity, step.procedure, begun)
        rest(self._rooms.stop, self.rng.uniform(*self._rooms.tempo.acquisition))
        fault.while_acquiring(self)
        made = Acquisition(
            step.procedure, step.station, begun, mpps_uid, self._uids, self.rng, first_series, few=self.exam.past
        )
        series = acquire(identity, made)
        fault.send(self, [ds for objects in series for ds in objects])
        self._entry(identity.study_instance_uid).note(
            [step] if step in self.exam.steps else [], spared=spared, another_day=begun.date() != step.start.date()
        )
        if mpps_uid and fault.finishes_mpps:
            wrong_entry = fault.wrong_entry and not spared
            modality.finish(mpps_uid, identity, series, self.now(), wrong_entry=wrong_entry)
            self._say("MPPS discontinued (110514)" if wrong_entry else "MPPS completed")

    def send(self, objects: Sequence[Dataset], *, again: bool = False) -> None:
        """C-STORE to Fiducial and, of the first time, to the AI box, which sends what it makes of it."""
        entry = self._entry(str(objects[0].StudyInstanceUID))
        stored = self._modality.send(list(objects))
        shown = entry.others if self._is_of_the_other(objects[0]) else entry.own
        shown.update(str(ds.SOPInstanceUID) for ds in objects)
        entry.instances_refused += stored.refused
        self._say(f"sent study {entry.study_instance_uid}: {stored.accepted} stored, {stored.refused} refused")
        if entry.instances_refused:
            raise Refused(f"{entry.instances_refused} objects were refused")
        if self._rooms.ai_box is not None and not again:
            entry.derived |= self._rooms.ai_box.look_at(objects, self._uids)

    def _is_of_the_other(self, ds: Dataset) -> bool:
        """Whether it shows the other patient in the same study."""
        other = self.exam.neighbour
        return self.exam.fault.mixes and other is not None and ds.PatientID == other.person.patient_id

    def _entry(self, study_instance_uid: str) -> Entry:
        """The ledger's entry of a study of this exam."""
        for entry in self.entries:
            if entry.study_instance_uid == study_instance_uid:
                return entry
        self.entries.append(Entry(self.exam, study_instance_uid, clock=self.clock))
        return self.entries[-1]

    def now(self) -> datetime:
        """By the console's clock. History is acquired when it truly happened; everything else now."""
        return self.exam.fault.clock(self, self.clock.now())

    def _report(self) -> None:
        """Preliminary, final and, now and then, an addendum."""
        if not self._rooms.reports or not self.exam.fault.is_ordered:
            return
        texts = [("P", "No acute finding."), ("F", "No acute finding. Confirmed.")]
        if self.rng.random() < 0.2:
            texts.append(("C", "Addendum: compared with the earlier exam, unchanged."))
        for entry in self.entries:
            for status, said in texts:
                self.desk.report(self.exam, entry.study_instance_uid, status=status, text=said)


def _is_of(order: Order) -> Callable[[Dataset], bool]:
    """Whether a worklist entry is this step's."""

    def is_of(entry: Dataset) -> bool:
        shown = text(scheduled_step(entry), "ScheduledProcedureStepID")
        return (text(entry, "AccessionNumber"), shown) == (order.accession_number, order.sps_id)

    return is_of


def differs(person: Person, step: Order, entry: Dataset) -> str:
    """What an entry shows otherwise of its patient or of its time; nothing when all is true."""
    shown_at = text(scheduled_step(entry), "ScheduledProcedureStepStartTime")
    compared = {
        "patient": ((text(entry, "PatientID"), text(entry, "IssuerOfPatientID")), (person.patient_id, person.issuer)),
        "name": (text(entry, "PatientName").rstrip("^"), person.dicom_name),
        "birth date": (text(entry, "PatientBirthDate"), person.birth_date),
        "sex": (text(entry, "PatientSex"), person.sex),
        "time": (shown_at[:4], step.start.strftime("%H%M")),
    }
    return next((field for field, (shown, true) in compared.items() if shown != true), "")
