"""In the messages: orders that are late or never come, records that are merged, HL7 out of order, twice, misspelt."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrator.simulator.faults.fault import OF_ONE_STEP, TURNS, Fault
from orchestrator.simulator.orders import Arrival, new_uid
from orchestrator.simulator.spelling import mistyped
from orchestrator.simulator.waiting import Refused

if TYPE_CHECKING:
    from orchestrator.simulator.course import Course
    from orchestrator.simulator.orders import Exam, Order
    from orchestrator.simulator.planner import Planner

_EARLIER = 600.0
"""Seconds: how long before now an old message was written."""


class NoOrder(Fault):
    name, is_ordered, turns = "no_order", False, frozenset({"appended"})
    label = "emergency: never an order"

    def plan(self, exam: "Exam", planner: "Planner") -> "Exam":
        return _as_emergency(exam)

    def arrive(self, course: "Course") -> None:
        if course.rng.random() < 0.5:
            course.register()

    def examine(self, course: "Course", step: "Order") -> None:
        course.examine(step, course.typed())


class OrderAfterImages(Fault):
    name, turns = "order_after_images", OF_ONE_STEP
    label = "order arrives after the images, which carry its accession number"

    def plan(self, exam: "Exam", planner: "Planner") -> "Exam":
        return replace(exam, order=replace(exam.order, study_instance_uid=""))

    def arrive(self, course: "Course") -> None:
        course.register()

    def examine(self, course: "Course", step: "Order") -> None:
        typed = course.typed(step.study_instance_uid, "" if step.study_instance_uid else step.accession_number)
        course.examine(step, replace(typed, issuer=course.exam.person.issuer))

    def afterwards(self, course: "Course") -> None:
        course.rest_an_hour()
        course.place_order()


class OrderAdoptsStudy(OrderAfterImages):
    name = "order_adopts_study"
    label = "order arrives after the images, with their Study Instance UID"

    def plan(self, exam: "Exam", planner: "Planner") -> "Exam":
        uid = new_uid(planner.uids(exam.number, "adopted"))
        return replace(exam, order=replace(exam.order, study_instance_uid=uid))


class _Merged(Fault):
    """All is ordered under one record of the person, which an A40 merges into another one."""

    turns = TURNS - {"corrected"}

    def plan(self, exam: "Exam", planner: "Planner") -> "Exam":
        return replace(exam, subsumed=replace(exam.person, patient_id=f"{exam.person.patient_id}D"))

    def register_themselves(self, course: "Course") -> None:
        """The record that survives, with a visit of its own."""
        exam = course.exam
        course.desk.register(replace(exam, visit_number=f"{exam.visit_number}W"), exam.person)


class TemporaryIdentity(_Merged):
    name = "temporary_identity"
    label = "unknown on arrival: ordered and examined under a temporary identity, merged later (A40)"

    def plan(self, exam: "Exam", planner: "Planner") -> "Exam":
        unknown = replace(
            exam.person, patient_id=f"TMP{exam.person.patient_id}", family="Unknown", given=f"Trauma {exam.number}",
            middle="", prefix="", birth_date="19000101",
        )  # fmt: skip
        return replace(_as_emergency(exam), subsumed=unknown)

    def afterwards(self, course: "Course") -> None:
        course.rest_an_hour()
        self.register_themselves(course)
        course.merge()


class DuplicateRegistration(_Merged):
    name, turns = "duplicate_registration", OF_ONE_STEP - {"corrected"}
    label = "registered twice: ordered under the second record, wrist band of the first, merged later (A40)"

    def arrive(self, course: "Course") -> None:
        self.register_themselves(course)
        course.arrive()

    def examine(self, course: "Course", step: "Order") -> None:
        course.examine(step, course.typed(accession_number=step.accession_number))

    def afterwards(self, course: "Course") -> None:
        course.rest_an_hour()
        course.merge()


class MergeInAcquisition(_Merged):
    name, turns = "merge_in_acquisition", frozenset({"canceled", "rescheduled"})
    label = "records merged (A40) while the patient is on the table"

    def arrive(self, course: "Course") -> None:
        self.register_themselves(course)
        course.arrive()

    def while_acquiring(self, course: "Course") -> None:
        course.merge()


class NoIssuerInMessages(Fault):
    name, turns = "no_issuer_in_messages", frozenset({"appended", "two_procedures", "two_steps"})
    label = "HIS and RIS say no assigning authority of the patient id (PID-3.4)"

    def arrive(self, course: "Course") -> None:
        silent = replace(course.exam.person, issuer="")
        course.desk.register(course.exam, silent)
        course.desk.order(course.exam, silent, course.exam.steps)


class MessageTwice(Fault):
    name, desk = "message_twice", {"times": 2}
    label = "every HL7 message sent twice"


class MessageAnew(Fault):
    name, desk = "message_anew", {"anew": True}
    label = "every HL7 message sent once more under another control id"


class OrderBeforeRegistration(Fault):
    name, turns = "order_before_registration", TURNS - {"corrected"}
    label = "the order overtakes the registration"

    def arrive(self, course: "Course") -> None:
        course.place_order()
        course.register()


class LateUpdate(Fault):
    name = "late_update"
    label = "an older update (A08) with a misspelt name comes after the newer one"

    def arrive(self, course: "Course") -> None:
        course.arrive()
        course.desk.correct(course.exam, mistyped(course.rng, course.exam.person), ago=_EARLIER)


class LateNewOrder(Fault):
    name, turns = "late_new_order", frozenset({"appended", "two_procedures", "two_steps"})
    label = "a change (XO) overtakes the order (NW), which names the earlier time"

    def arrive(self, course: "Course") -> None:
        exam = course.exam
        course.register()
        course.desk.order(exam, exam.person, exam.steps, "XO")
        before = replace(exam.order, start=exam.order.start - timedelta(days=1))
        course.desk.order(exam, exam.person, [before], "NW", ago=_EARLIER)


class MessageCharset(Fault):
    name = "message_charset"
    label = "the registration is sent in an old character set that its header does not name, then rightly"

    def arrive(self, course: "Course") -> None:
        with suppress(Refused):
            course.desk.register(course.exam, course.exam.person, encoding=_old_encoding(course.exam.person.dicom_name))
        course.arrive()


def _as_emergency(exam: "Exam") -> "Exam":
    return replace(exam, arrival=Arrival.EMERGENCY, order=replace(exam.order, priority="S"))


def _old_encoding(text: str) -> str:
    """The first of the old character sets that has all the letters; else Unicode after all."""
    for encoding in ("iso8859-1", "iso8859-2", "iso8859-5", "iso8859-7", "iso8859-9", "cp1258"):
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            continue
        return encoding
    return "utf-8"
