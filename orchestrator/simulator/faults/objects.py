"""In what the modality sends: performed steps that are lost, images that come in halves or twice, clocks, charsets."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from orchestrator.simulator.console import Identity
from orchestrator.simulator.faults.fault import OF_ONE_STEP, TURNS, Fault

if TYPE_CHECKING:
    from orchestrator.simulator.course import Course
    from orchestrator.simulator.orders import Exam, Order
    from orchestrator.simulator.people import Person
    from orchestrator.simulator.planner import Planner

_NOON = 12


class MppsNeverSent(Fault):
    name, begins_mpps = "mpps_never_sent", False
    label = "no MPPS at all"
    # Images alone say of a study only that one of its steps was performed.
    turns = TURNS - {"two_steps"}


class MppsNeverFinished(Fault):
    name, finishes_mpps = "mpps_never_finished", False
    label = "MPPS begun and never finished"


class StudyTwice(Fault):
    name = "study_twice"
    label = "the whole study sent again"

    def send(self, course: "Course", objects: Sequence[Dataset]) -> None:
        course.send(objects)
        course.send(objects, again=True)


class HalfSent(Fault):
    name = "half_sent"
    label = "half of the study is sent, MPPS names all of it, the rest comes an hour later"

    def send(self, course: "Course", objects: Sequence[Dataset]) -> None:
        half = len(objects) // 2
        course.send(objects[:half])
        course.later.extend(objects[half:])

    def afterwards(self, course: "Course") -> None:
        course.rest_an_hour()
        for uid in dict.fromkeys(ds.StudyInstanceUID for ds in course.later):
            course.send([ds for ds in course.later if ds.StudyInstanceUID == uid])


class SecondPatient(Fault):
    name, mixes, turns = "second_patient", True, OF_ONE_STEP
    label = "the next patient is examined in the study that was left open: two people under one Study Instance UID"

    def plan(self, exam: "Exam", planner: "Planner") -> "Exam":
        return replace(exam, neighbour=planner.beside(exam))

    def arrive(self, course: "Course") -> None:
        course.tell_of(course.neighbour)
        course.arrive()

    def examine(self, course: "Course", step: "Order") -> None:
        chosen, other = course.chosen(step), course.neighbour
        course.examine(step, chosen)
        uid, accession_number = chosen.study_instance_uid, other.order.accession_number
        typed = Identity.typed(other.person, uid, accession_number, issuer=other.person.issuer)
        course.perform(other.order, typed, first_series=21)


class ClockDrift(Fault):
    name = "clock_drift"
    label = "the console's clock is up to fifty minutes slow, or takes a.m. for p.m. and shows another day"

    def clock(self, course: "Course", now: datetime) -> datetime:
        if course.exam.number % 3 == 0:
            return now + timedelta(hours=-12 if now.hour < _NOON else 12)
        return now - timedelta(minutes=course.exam.number % 50 + 1)


class ClockReset(Fault):
    name = "clock_reset"
    label = "the console's clock has fallen back by years"

    def clock(self, course: "Course", now: datetime) -> datetime:
        return now - timedelta(days=3653)


class _Garbled(Fault):
    """Text as UTF-8, under a header that does not say so. A name in plain letters does not suffer."""

    def garbles(self, person: "Person") -> bool:
        return not person.dicom_name.isascii()

    def send(self, course: "Course", objects: Sequence[Dataset]) -> None:
        for ds in objects:
            # Written as Latin-1 these letters are the bytes of UTF-8.
            ds.PatientName = str(ds.PatientName).encode().decode("iso8859-1")
            ds.ReferringPhysicianName = str(ds.ReferringPhysicianName).encode().decode("iso8859-1")
            self.declare(ds)
        course.send(objects)

    def declare(self, ds: Dataset) -> None:
        ds.SpecificCharacterSet = "ISO_IR 100"


class CharsetWrong(_Garbled):
    name = "charset_wrong"
    label = "the images' text is UTF-8, their header says Latin-1"


class CharsetMissing(_Garbled):
    name = "charset_missing"
    label = "the images' text is UTF-8, their header names no character set"

    def declare(self, ds: Dataset) -> None:
        del ds.SpecificCharacterSet
