"""At the console: who and what is taken for the patient and the order."""

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.simulator.console import Identity
from orchestrator.simulator.faults.fault import OF_ONE_STEP, Fault
from orchestrator.simulator.people import Person
from orchestrator.simulator.spelling import maiden, mistyped, swapped, transliterated

if TYPE_CHECKING:
    from orchestrator.simulator.course import Course
    from orchestrator.simulator.orders import Exam, Order
    from orchestrator.simulator.planner import Planner


class _TypedIn(Fault):
    """The worklist is not used: a study UID of the modality's own, the patient and the accession number by hand."""

    turns = OF_ONE_STEP

    def examine(self, course: "Course", step: "Order") -> None:
        typed = course.typed(accession_number=step.accession_number)
        person = self.spell(course, course.exam.person)
        course.examine(step, replace(typed, patient_name=person.dicom_name, patient_id=person.patient_id))

    def spell(self, course: "Course", person: Person) -> Person:
        return person


class TypingError(_TypedIn):
    name = "typing_error"
    label = "patient typed in with a slip, accession number right"

    def spell(self, course: "Course", person: Person) -> Person:
        return mistyped(course.rng, person)


class SwappedName(_TypedIn):
    name = "swapped_name"
    label = "patient typed in with family and given name in each other's field"

    def spell(self, course: "Course", person: Person) -> Person:
        return swapped(person)


class MaidenName(_TypedIn):
    name = "maiden_name"
    label = "patient typed in under the maiden name"

    def spell(self, course: "Course", person: Person) -> Person:
        return maiden(course.rng, person)


class Transliteration(_TypedIn):
    name = "transliteration"
    label = "patient typed in with plain Latin letters"

    def spell(self, course: "Course", person: Person) -> Person:
        return transliterated(person)

    def garbles(self, person: Person) -> bool:
        return transliterated(person) != person


class LostZeros(_TypedIn):
    name = "lost_zeros"
    label = "patient id typed in without its leading zeros"

    def spell(self, course: "Course", person: Person) -> Person:
        return replace(person, patient_id=person.patient_id.lstrip("0"))


class WrongAccession(Fault):
    name, turns = "wrong_accession", OF_ONE_STEP
    label = "patient typed in rightly, accession number with two characters in each other's place"

    def examine(self, course: "Course", step: "Order") -> None:
        course.examine(step, course.typed(accession_number=_turned(step.accession_number)))


class MissingAccession(Fault):
    name, turns = "missing_accession", OF_ONE_STEP
    label = "patient typed in rightly, no accession number: nothing names an order"

    def examine(self, course: "Course", step: "Order") -> None:
        course.examine(step, course.typed())


class ErasedAccession(Fault):
    name = "erased_accession"
    label = "worklist used, accession number lost at the console"

    def examine(self, course: "Course", step: "Order") -> None:
        course.examine(step, replace(course.chosen(step), accession_number=""))


class NoIssuer(Fault):
    name = "no_issuer"
    label = "worklist used, the console drops the issuer of the patient id"

    def examine(self, course: "Course", step: "Order") -> None:
        course.examine(step, replace(course.chosen(step), issuer=""))


class _WrongEntry(Fault):
    """The entry of another patient, one row away on the same station's list, is chosen.

    Further steps of the order go as they should.
    """

    def plan(self, exam: "Exam", planner: "Planner") -> "Exam":
        return replace(exam, neighbour=planner.beside(exam))

    def arrive(self, course: "Course") -> None:
        course.tell_of(course.neighbour)
        course.arrive()

    def taken(self, course: "Course") -> Identity:
        other = course.neighbour
        return Identity.from_worklist(course.entry_of(other, other.order))

    def edited(self, course: "Course", step: "Order", taken: Identity) -> Identity:
        """What is typed over in it."""
        return taken

    def examine(self, course: "Course", step: "Order") -> None:
        if step == course.exam.order:
            course.examine(step, self.edited(course, step, self.taken(course)))
        else:
            course.spare(step)


class WrongEntryNoticed(_WrongEntry):
    name, wrong_entry = "wrong_entry_noticed", True
    label = "another patient's worklist entry chosen, MPPS discontinued with 110514"


class WrongEntryEdited(_WrongEntry):
    name = "wrong_entry_edited"
    label = "another patient's worklist entry chosen, only the patient typed over"

    def edited(self, course: "Course", step: "Order", taken: Identity) -> Identity:
        person = course.exam.person
        return replace(
            taken, patient_name=person.dicom_name, patient_id=person.patient_id, issuer=person.issuer,
            birth_date=person.birth_date, sex=person.sex,
        )  # fmt: skip


class _OtherOrder(_WrongEntry):
    """The same patient has two orders for the station, and the entry of the other one is chosen."""

    def plan(self, exam: "Exam", planner: "Planner") -> "Exam":
        order = exam.order
        other = planner.order(exam.number, order.station, order.start, "Y", besides=order.procedure)
        return replace(exam, neighbour=replace(exam, order=other))


class OtherOrderNoticed(_OtherOrder):
    name, wrong_entry = "other_order_noticed", True
    label = "the patient's other order chosen on the worklist, MPPS discontinued with 110514"


class OtherOrderEdited(_OtherOrder):
    name = "other_order_edited"
    label = "the patient's other order chosen on the worklist, only the accession number typed over"

    def edited(self, course: "Course", step: "Order", taken: Identity) -> Identity:
        return replace(taken, accession_number=step.accession_number)


def _turned(number: str) -> str:
    """Two unlike neighbours changed places, from the end; the number is then nobody's."""
    for at in range(len(number) - 1, 0, -1):
        if number[at] != number[at - 1]:
            return number[: at - 1] + number[at] + number[at - 1] + number[at + 1 :]
    return number[:-1]
