"""What messages do once they are applied, in the order of their interface."""

import datetime as dt
from typing import Any
from unittest.mock import call, patch

import pytest
from django.db import IntegrityError, OperationalError
from pydicom.dataset import Dataset

from orchestrator.hl7 import handlers
from orchestrator.hl7.drain import apply_messages
from orchestrator.hl7.messages import Message
from orchestrator.models import (
    ExceptionCase,
    HL7Application,
    ImagingServiceRequest,
    InboundMessage,
    Patient,
    PatientIdentifier,
    ScheduledProcedureStep,
    Site,
    Visit,
)
from orchestrator.services import workflow
from orchestrator.services.messages import dismiss, replay
from orchestrator.services.orders import advance_step
from orchestrator.states import CaseStatus, InboundStatus, OrderStatus, StepStatus, VisitStatus
from tests.orchestrator.hl7.speech import adt, last, orm, pid, take
from tests.worklists.ward import ask, decoded, keys

pytestmark = pytest.mark.django_db

OTHER = pid("P2", "Roe^Max")


def tell(*messages: str) -> None:
    """Messages that are taken and applied, all of them, interface by interface."""
    take(*messages)
    for interface in HL7Application.objects.order_by("pk"):
        apply_messages(interface.pk)


def statuses() -> list[str]:
    return list(InboundMessage.objects.order_by("pk").values_list("status", flat=True))


def order() -> ImagingServiceRequest:
    return ImagingServiceRequest.objects.get()


def step() -> ScheduledProcedureStep:
    return ScheduledProcedureStep.objects.get()


def worklist() -> list[Dataset]:
    """What a modality gets."""
    *pending, final = ask(keys(AccessionNumber="", PatientBirthDate=""))
    assert final.status == 0
    return [decoded(each.dataset) for each in pending]


def test_a_new_order_is_on_the_worklist_with_what_it_said() -> None:
    tell(orm())
    assert (order().accession_number, order().placer_order_number, order().status) == (
        "A1",
        "PL1",
        OrderStatus.SCHEDULED,
    )
    assert (step().sps_id, step().modality, step().station_ae_titles) == ("S1", "CT", ["CT_NORTH"])
    assert (step().start_date, step().start_time) == (dt.date(2026, 7, 5), dt.time(10, 30))
    (answer,) = worklist()
    assert (str(answer.PatientName), answer.PatientID, answer.AccessionNumber) == ("Doe^Jane", "P1", "A1")


def test_a_change_keeps_the_study_uid_and_moves_the_step() -> None:
    tell(orm())
    uid = step().procedure.study_instance_uid
    tell(orm("XO", "2", start="202607061115"))
    assert (step().start_date, step().start_time) == (dt.date(2026, 7, 6), dt.time(11, 15))
    assert step().procedure.study_instance_uid == uid


@pytest.mark.parametrize(
    ("control", "status", "step_status", "order_status"),
    [
        ("CA", "", StepStatus.CANCELED, OrderStatus.CANCELED),
        ("DC", "", StepStatus.DISCONTINUED, OrderStatus.DISCONTINUED),
        ("SC", "IP", StepStatus.STARTED, OrderStatus.IN_PROGRESS),
        ("SC", "CM", StepStatus.COMPLETED, OrderStatus.COMPLETED),
        ("SC", "A", StepStatus.COMPLETED, OrderStatus.COMPLETED),
        ("SC", "CA", StepStatus.CANCELED, OrderStatus.CANCELED),
        ("SC", "DC", StepStatus.DISCONTINUED, OrderStatus.DISCONTINUED),
        ("SC", "SC", StepStatus.SCHEDULED, OrderStatus.SCHEDULED),
        ("XO", "CM", StepStatus.COMPLETED, OrderStatus.COMPLETED),
        ("HD", "", StepStatus.ON_HOLD, OrderStatus.ON_HOLD),
    ],
)
def test_an_order_control_moves_step_and_order(control: str, status: str, step_status: str, order_status: str) -> None:
    tell(orm())
    tell(orm(control, "2", status=status))
    assert (step().status, order().status) == (step_status, order_status)
    assert len(worklist()) == (step_status == StepStatus.SCHEDULED)
    assert statuses() == [InboundStatus.APPLIED] * 2


@pytest.mark.parametrize(
    ("event", "control", "status"),
    [("step.started", "CA", ""), ("step.completed", "CA", ""), ("step.completed", "DC", "")],
)
def test_a_cancellation_that_comes_too_late_is_a_case(event: str, control: str, status: str) -> None:
    tell(orm())
    advance_step(step=step(), event=event)
    before = step().status
    tell(orm(control, "2", status=status))
    assert (last().status, step().status) == (InboundStatus.QUARANTINED, before)
    assert ExceptionCase.objects.get().kind == "hl7_quarantine"


def test_a_status_report_that_contradicts_the_order_is_a_case() -> None:
    tell(orm(), orm("CA", "2"), orm("SC", "3", status="IP"))
    assert statuses() == [InboundStatus.APPLIED, InboundStatus.APPLIED, InboundStatus.QUARANTINED]


@pytest.mark.parametrize("control", ["CA", "SC"])
def test_an_order_that_nobody_knows_is_a_case(control: str) -> None:
    tell(orm(control, status="CM" if control == "SC" else ""))
    assert last().error.startswith("ORC-3")
    assert not ImagingServiceRequest.objects.exists()


def test_an_order_number_used_again_for_another_patient_does_not_move_the_order() -> None:
    tell(orm(), orm("NW", "2", person=OTHER))
    assert order().patient.name == "Doe^Jane"
    assert last().error.startswith("PID-3")
    assert Patient.objects.count() == 1


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("TQ1-7", orm(start="", timing="TQ1|1||||||20260708091500||S")),
        ("ORC-7", orm(start="20260708091500+0200")),
        ("OBR-27", orm(start="").replace("||||CT", "||||CT|||^^^20260708091500^^S")),
        ("OBR-36", orm(start="").replace("||||CT", "||||CT||||||||||||20260708091500")),
    ],
)
def test_the_start_is_the_wall_clock_of_the_first_field_that_has_it(where: str, message: str) -> None:
    tell(message)
    assert (step().start_date, step().start_time) == (dt.date(2026, 7, 8), dt.time(9, 15)), where


def test_tq1_wins_over_orc_7() -> None:
    tell(orm(timing="TQ1|1||||||20260708091500||S"))
    assert (step().start_date, order().priority) == (dt.date(2026, 7, 8), "STAT")


@pytest.mark.parametrize("start", ["2026111", "20261345", "20260705 10:30", "tomorrow", "202607051"])
def test_a_start_that_is_no_time_is_a_case_that_names_its_field(start: str) -> None:
    tell(orm(start=start))
    assert last().error.startswith("ORC-7")
    assert not ImagingServiceRequest.objects.exists()


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ("A01", VisitStatus.ACTIVE),
        ("A04", VisitStatus.ACTIVE),
        ("A08", VisitStatus.PLANNED),
        ("A31", VisitStatus.PLANNED),
    ],
)
def test_an_adt_makes_patient_and_visit(event: str, status: str) -> None:
    tell(adt(event))
    patient, visit = Patient.objects.get(), Visit.objects.get()
    assert (patient.name, patient.birth_date, patient.sex) == ("Doe^Jane", dt.date(1970, 2, 28), "F")
    assert (visit.visit_number, visit.status, visit.location) == ("VP1", status, "WARD 1 A")


@pytest.mark.parametrize("event", ["A08", "A31"])
def test_an_update_of_demographics_is_in_the_next_worklist_answer(event: str) -> None:
    tell(orm())
    tell(adt(event, "2", person=pid(name="Newname^Jane", born="19700301")))
    (answer,) = worklist()
    assert (str(answer.PatientName), answer.PatientBirthDate) == ("Newname^Jane", "19700301")


def test_an_update_that_comes_late_does_not_undo_a_newer_one() -> None:
    tell(adt("A01", "1", at="20260705080000"))
    tell(adt("A08", "2", at="20260705100000", person=pid(name="Newest")))
    tell(adt("A08", "3", at="20260705090000", person=pid(name="Older")))
    assert Patient.objects.get().name == "Newest"


def test_an_order_of_the_same_moment_does_not_undo_what_a_patient_event_said() -> None:
    """Two interfaces, two workers: the RIS's order of that second may be applied after the HIS's update."""
    tell(adt("A04", "1", application="HIS"))
    tell(adt("A08", "2", application="HIS", person=pid(name="Corrected^Jane")))
    tell(orm(person=pid(name="Doe^Jane")))
    assert Patient.objects.get().name == "Corrected^Jane"


def test_a_message_that_confirms_the_data_counts_as_the_newest_word() -> None:
    tell(adt("A01", "1", at="20260705080000"))
    tell(adt("A08", "2", at="20260705100000"))
    tell(adt("A08", "3", at="20260705090000", person=pid(name="Older")))
    assert Patient.objects.get().name == "Doe^Jane"


def test_two_quotes_delete_and_nothing_leaves_as_it_is() -> None:
    tell(adt())
    tell(adt("A08", "2", person="PID|1||P1^^^MAIN^MR||Doe^Jane"))
    assert (Patient.objects.get().sex, Patient.objects.get().birth_date) == ("F", dt.date(1970, 2, 28))
    tell(adt("A08", "3", person=pid(born='""', sex='""')))
    assert (Patient.objects.get().sex, Patient.objects.get().birth_date) == ("", None)


def test_messages_are_applied_in_the_order_in_which_they_came() -> None:
    names = [f"Name{number}" for number in range(5)]
    tell(*(adt("A08", name, person=pid(name=name)) for name in names))
    applied = InboundMessage.objects.order_by("applied_at").values_list("control_id", flat=True)
    assert list(applied) == names
    assert Patient.objects.get().name == "Name4"


BROKEN = adt("A08", "BAD", person=pid(born="not a date"))


def test_a_message_that_fails_holds_those_of_its_patient_and_no_others() -> None:
    tell(BROKEN, adt("A08", "SAME"), orm(control_id="OTHER", person=OTHER))
    tell(adt("A08", "ELSEWHERE", application="HIS"))
    assert statuses() == [
        InboundStatus.QUARANTINED, InboundStatus.WAITING, InboundStatus.APPLIED, InboundStatus.WAITING,
    ]  # fmt: skip
    case = ExceptionCase.objects.get()
    assert (case.kind, case.message, case.reason_code) == (
        "hl7_quarantine", InboundMessage.objects.get(control_id="BAD"), "PID-7",
    )  # fmt: skip


def test_what_waited_goes_on_when_the_message_before_it_is_given_up() -> None:
    tell(BROKEN, adt("A08", "SAME"))
    dismiss(InboundMessage.objects.get(control_id="BAD"), reason="sent in error")
    apply_messages(HL7Application.objects.get().pk)
    assert statuses() == [InboundStatus.REJECTED, InboundStatus.APPLIED]
    assert ExceptionCase.objects.get().status == CaseStatus.RESOLVED


def test_after_its_turn_an_interface_leaves_the_worker_to_others_and_the_bell_rings_again(
    django_capture_on_commit_callbacks: Any,
) -> None:
    take(adt(), adt(control_id="2", person=OTHER))
    interface = HL7Application.objects.get()
    with (
        patch.object(workflow, "ring_at_once") as bell,
        django_capture_on_commit_callbacks(execute=True),
    ):
        assert apply_messages(interface.pk, turn=0) == 1
    assert statuses() == [InboundStatus.APPLIED, InboundStatus.RECEIVED]
    assert call("orchestrator.tasks.apply_messages", interface.pk, queue=None) in bell.mock_calls
    assert apply_messages(interface.pk) == 1


@pytest.mark.parametrize("error", [RuntimeError("Doe^Jane"), KeyError("x")])
def test_a_handler_that_breaks_sets_its_message_aside_and_it_can_be_played_again(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    take(adt(), adt(control_id="2", person=OTHER))
    interface = HL7Application.objects.get()
    with patch.object(handlers, "_patient_and_visit", side_effect=[error, handlers._patient_and_visit]):
        apply_messages(interface.pk)
    assert InboundMessage.objects.earliest("pk").status == InboundStatus.QUARANTINED
    assert "Doe" not in caplog.text
    replay(InboundMessage.objects.earliest("pk"), reason="mended")
    apply_messages(interface.pk)
    assert InboundMessage.objects.earliest("pk").status == InboundStatus.APPLIED
    assert Patient.objects.filter(name="Doe^Jane").exists()
    assert (
        ExceptionCase.objects.filter(status=CaseStatus.OPEN, message=InboundMessage.objects.earliest("pk")).count() == 0
    )


def test_a_value_that_the_database_refuses_does_not_stop_the_interface() -> None:
    """PostgreSQL knows how long a column is; SQLite takes it."""
    tell(adt(person=f"PID|1||P1^^^{'N' * 70}&{'1' * 220}&ISO^MR||Doe"), adt(control_id="2", person=OTHER))
    assert last().status == InboundStatus.APPLIED
    assert InboundMessage.objects.earliest("pk").status in (InboundStatus.APPLIED, InboundStatus.QUARANTINED)


def test_trouble_of_the_database_leaves_the_message_for_later() -> None:
    take(adt())
    interface = HL7Application.objects.get()
    with (
        patch.object(handlers, "_patient_and_visit", side_effect=OperationalError("away")),
        pytest.raises(OperationalError),
    ):
        apply_messages(interface.pk)
    assert statuses() == [InboundStatus.RECEIVED]
    assert apply_messages(interface.pk) == 1
    assert statuses() == [InboundStatus.APPLIED]


_refused: list[str] = []


def refused_once(message: Message, inbound: InboundMessage) -> handlers.Effect:
    """Does all of it, and is told by the database that somebody else was faster."""
    effect = handlers.orm(message, inbound)
    if not _refused:
        _refused.append(message.control_id)
        raise IntegrityError
    return effect


def test_what_another_worker_was_faster_with_is_applied_once_more_by_what_is_known_then(settings: Any) -> None:
    settings.HL7_HANDLERS = settings.HL7_HANDLERS | {"ORM^O01": f"{__name__}.refused_once"}
    _refused.clear()
    tell(orm())
    assert _refused
    assert (last().status, last().error) == (InboundStatus.APPLIED, "")
    # The issuer of the first try was rolled back with it, and is learned again.
    assert Site.objects.get().default_issuer == PatientIdentifier.objects.get().issuer
    assert len(worklist()) == 1
