"""The course of one exam, from the front desk to the last object sent."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Event

from pydicom.dataset import Dataset

from orchestrator.simulator.console import Identity, scheduled_step, text
from orchestrator.simulator.desk import FrontDesk
from orchestrator.simulator.faults import Fault
from orchestrator.simulator.images import Acquisition, acquire
from orchestrator.simulator.ledger import Entry
from orchestrator.simulator.mllp_out import Sender
from orchestrator.simulator.modality import Modality
from orchestrator.simulator.orders import Exam, Order, Planner, new_uid
from orchestrator.simulator.people import mistyped
from orchestrator.simulator.waiting import GaveUp, Refused, Stopped, rest


@dataclass(frozen=True)
class Tempo:
    """Pauses in seconds: how long an acquisition takes, and how late a late order comes."""

    acquisition: tuple[float, float]
    late_order: float


LIFELIKE = Tempo(acquisition=(2, 8), late_order=45)
BRISK = Tempo(acquisition=(0, 0.3), late_order=10)


@dataclass(frozen=True)
class Rooms:
    """Everything an exam needs of the hospital."""

    his: Sender
    ris: Sender
    modalities: dict[str, Modality]
    planner: Planner
    stop: Event
    say: Callable[[str], None]
    tempo: Tempo


class Course:
    """One exam under way. `entry` is what the ledger will know of it."""

    def __init__(self, exam: Exam, rooms: Rooms) -> None:
        self._exam, self._rooms = exam, rooms
        self._modality = rooms.modalities[exam.order.procedure.station]
        self._rng = rooms.planner.rng(exam.number, "course")
        self._uids = rooms.planner.uids(exam.number, "course")
        times = 2 if exam.fault is Fault.MESSAGE_TWICE else 1
        self._desk = FrontDesk(rooms.his, rooms.ris, self._say, times)
        self.entry = Entry(exam)

    def run(self) -> Entry | None:
        """Take the patient through; the entry for the ledger, or None when the hospital closed meanwhile."""
        exam = self._exam
        if exam.fault is not None:
            self._say(f"fault: {exam.fault.label}")
        try:
            self._arrive()
            self._acquire()
            if exam.fault is not None and exam.fault.order_comes_late:
                rest(self._rooms.stop, self._rooms.tempo.late_order)
                self._desk.order(exam, exam.person, exam.order)
        except Stopped:
            return None
        except (GaveUp, Refused) as error:
            self.entry.problem, self.entry.gave_up = str(error), isinstance(error, GaveUp)
            self._say(f"problem: {error}")
        return self.entry

    def _say(self, text: str) -> None:
        self._rooms.say(f"{self._exam.label}: {text}")

    def _arrive(self) -> None:
        exam, desk = self._exam, self._desk
        shown = exam.registered_as or exam.person
        if exam.has_order or self._rng.random() < 0.5:
            desk.register(exam, shown)
        if exam.neighbour is not None:
            desk.register(exam.neighbour, exam.neighbour.person)
            desk.order(exam.neighbour, exam.neighbour.person, exam.neighbour.order)
        if not exam.has_order or (exam.fault is not None and exam.fault.order_comes_late):
            return
        if exam.canceled is not None:
            self._place_and_cancel(exam.canceled)
        desk.order(exam, shown, exam.ordered_as or exam.order)
        if exam.ordered_as is not None:
            desk.order(exam, exam.person, exam.order, "XO")
        if exam.registered_as is not None:
            desk.correct(exam, exam.person)

    def _place_and_cancel(self, order: Order) -> None:
        """An order that somebody takes back once the console has seen it; it must leave the worklist."""
        modality = self._rooms.modalities[order.procedure.station]
        self._desk.order(self._exam, self._exam.person, order)
        self._on_worklist(modality, order)
        self._desk.order(self._exam, self._exam.person, order, "CA")
        if not modality.loses(order.procedure, order.start.date(), _has_accession(order)):
            raise Refused("the canceled step stays on the worklist")

    # --- at the console -------------------------------------------------------------------------

    def _acquire(self) -> None:
        while not self._modality.busy.acquire(timeout=0.5):
            rest(self._rooms.stop, 0)
        try:
            self._examine(self._identify())
        finally:
            self._modality.busy.release()

    def _identify(self) -> Identity:
        """What the console takes for the patient and the order: usually the worklist's entry."""
        exam, person, order = self._exam, self._exam.person, self._exam.order
        match exam.fault:
            case Fault.TYPED_IN:
                return Identity.typed(mistyped(self._rng, person), new_uid(self._uids), order.accession_number)
            case Fault.MISSING_ACCESSION | Fault.NO_ORDER:
                return Identity.typed(person, new_uid(self._uids), "")
            case Fault.ORDER_AFTER_IMAGES:
                return Identity.typed(person, new_uid(self._uids), order.accession_number, issuer=person.issuer)
            case Fault.ORDER_ADOPTS_STUDY:
                return Identity.typed(person, order.study_instance_uid, "", issuer=person.issuer)
        if exam.neighbour is not None:
            taken = Identity.from_worklist(self._on_worklist(self._modality, exam.neighbour.order))
            if exam.fault is Fault.WRONG_ENTRY_NOTICED:
                return taken
            typed = Identity.typed(person, taken.study_instance_uid, taken.accession_number, issuer=person.issuer)
            return replace(typed, sps_id=taken.sps_id, requested_procedure_id=taken.requested_procedure_id)
        identity = Identity.from_worklist(self._own_entry())
        return replace(identity, accession_number="") if exam.fault is Fault.ERASED_ACCESSION else identity

    def _own_entry(self) -> Dataset:
        """The patient's own entry, once it shows what was last told to Fiducial."""
        exam = self._exam
        entry = self._on_worklist(self._modality, exam.order, self._is_current)
        shown = (text(entry, "PatientID"), text(entry, "IssuerOfPatientID") or exam.person.issuer)
        if shown != (exam.person.patient_id, exam.person.issuer):
            raise Refused("the worklist shows another patient for this accession number")
        if exam.order.study_instance_uid not in ("", text(entry, "StudyInstanceUID")):
            raise Refused("the worklist shows another Study Instance UID than was ordered")
        return entry

    def _is_current(self, entry: Dataset) -> bool:
        """Whether a correction (A08) or a change (XO) is in the entry already."""
        exam = self._exam
        if exam.registered_as is not None and _short_name(text(entry, "PatientName")) != _short_name(
            exam.person.dicom_name
        ):
            return False
        shown = text(scheduled_step(entry), "ScheduledProcedureStepStartTime")[:4]
        return exam.ordered_as is None or shown == exam.order.start.strftime("%H%M")

    def _on_worklist(
        self, modality: Modality, order: Order, is_current: Callable[[Dataset], bool] = lambda entry: True
    ) -> Dataset:
        asked, has_accession = time.monotonic(), _has_accession(order)
        entry = modality.find(
            order.procedure, order.start.date(), lambda entry: has_accession(entry) and is_current(entry)
        )
        if entry is None:
            raise Refused("the step, or its latest change, never came to the worklist")
        if not text(entry, "StudyInstanceUID"):
            raise Refused("the worklist entry has no Study Instance UID")
        self._say(f"on the worklist after {time.monotonic() - asked:.1f} s")
        return entry

    def _examine(self, identity: Identity) -> None:
        """MPPS, images, MPPS."""
        exam, modality = self._exam, self._modality
        begun = self._now()
        mpps_uid = "" if exam.fault is Fault.MPPS_NEVER_SENT else new_uid(self._uids)
        if mpps_uid:
            modality.begin(mpps_uid, identity, exam.order.procedure, begun)
        rest(self._rooms.stop, self._rng.uniform(*self._rooms.tempo.acquisition))
        series = acquire(identity, Acquisition(exam.order.procedure, begun, mpps_uid, self._uids, self._rng))
        self._send(identity, [ds for objects in series for ds in objects])
        if mpps_uid and exam.fault is not Fault.MPPS_NEVER_FINISHED:
            wrong_entry = exam.fault is Fault.WRONG_ENTRY_NOTICED
            modality.finish(mpps_uid, identity, series, self._now(), wrong_entry=wrong_entry)
            self._say("MPPS discontinued (110514)" if wrong_entry else "MPPS completed")

    def _send(self, identity: Identity, objects: list[Dataset]) -> None:
        self.entry.study_instance_uid = identity.study_instance_uid
        for _ in range(2 if self._exam.fault is Fault.STUDY_TWICE else 1):
            stored = self._modality.send(objects)
            self.entry.instances = len(objects)
            self.entry.instances_refused += stored.refused
            self._say(f"sent study {identity.study_instance_uid}: {stored.accepted} stored, {stored.refused} refused")
        if self.entry.instances_refused:
            raise Refused(f"{self.entry.instances_refused} objects were refused")

    def _now(self) -> datetime:
        """History is acquired when it was scheduled; everything else now."""
        return self._exam.order.start if self._exam.past else datetime.now().astimezone()


def _has_accession(order: Order) -> Callable[[Dataset], bool]:
    return lambda entry: text(entry, "AccessionNumber") == order.accession_number


def _short_name(name: str) -> list[str]:
    """Family and given name of the alphabetic group."""
    return name.partition("=")[0].split("^")[:2]
