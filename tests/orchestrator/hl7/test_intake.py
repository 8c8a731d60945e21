"""What is taken, what is refused and what is kept, before anything is applied."""

from typing import Any

import pytest
from django.db import IntegrityError, InternalError
from pytest_django.fixtures import Settings

from orchestrator.hl7 import intake
from orchestrator.hl7.drain import apply_messages
from orchestrator.models import (
    ExceptionCase,
    HL7Application,
    ImagingServiceRequest,
    InboundMessage,
    Patient,
    UnknownCaller,
    WorkflowEvent,
)
from orchestrator.states import InboundStatus
from tests.factories import make_site
from tests.orchestrator.hl7.speech import adt, field, last, msh, orm, pid, take, without

pytestmark = pytest.mark.django_db


def test_a_message_is_kept_as_it_came_with_its_place_and_answer() -> None:
    (answer,) = take(orm(control_id="77", at="20260705080000+0200"))
    message = last()
    assert (field(answer, "MSA", 1), field(answer, "MSA", 2), field(answer, "MSH", 8)) == ("AA", "77", "ACK^O01^ACK")
    assert bytes(message.raw) == orm(control_id="77", at="20260705080000+0200").encode()
    assert bytes(message.ack).decode() == answer
    assert (message.status, message.sequence, message.message_type) == (InboundStatus.RECEIVED, 1, "ORM^O01")
    assert message.sent_at is not None
    assert message.sent_at.hour == 6


@pytest.mark.parametrize(
    ("message", "code", "location", "error"),
    [
        (without(adt(), "PID"), "AE", "PID^1", "100"),
        (without(adt(), "PID", 3), "AE", "PID^1^3", "101"),
        (without(adt(), "PID", 5), "AE", "PID^1^5", "101"),
        (adt(person=pid(name='""')), "AE", "PID^1^5", "101"),
        (adt(person="PID|1||^^^MAIN^MR||Doe"), "AE", "PID^1^3", "101"),
        (without(orm(), "ORC"), "AE", "ORC^1", "100"),
        (without(orm(), "ORC", 1), "AE", "ORC^1^1", "101"),
        (without(orm(), "OBR"), "AE", "OBR^1", "100"),
        (without(without(orm("CA"), "ORC", 2), "ORC", 3).replace("|PL1|F1|", "|||"), "AE", "ORC^1^2", "101"),
        (orm("ZZ"), "AE", "ORC^1^1", "103"),
        (orm("SC", status="RP"), "AE", "ORC^1^1", "103"),
        (adt(control_id=""), "AE", "MSH^1^10", "101"),
        (adt("A40"), "AR", "MSH^1^9", "201"),
        (adt().replace("ADT^A01", "ZZZ^Z01"), "AR", "MSH^1^9", "200"),
        (adt().replace("ADT^A01", ""), "AR", "MSH^1^9", "200"),
        (adt(charset="8859/99"), "AE", "MSH^1^18", "103"),
        ("no message at all", "AR", "MSH^1", "100"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_segment_and_field_kept_and_shown(
    message: str, code: str, location: str, error: str
) -> None:
    (answer,) = take(message)
    assert (field(answer, "MSA", 1), field(answer, "ERR", 2), field(answer, "ERR", 3)) == (code, location, error)
    assert field(answer, "ERR", 4) == "E"
    assert field(answer, "ERR", 8)
    row = last()
    assert (row.status, row.ack_code, bytes(row.raw).decode()) == (InboundStatus.REJECTED, code, message)
    case = ExceptionCase.objects.get(kind="hl7_rejected")
    assert case.message == row
    assert "Doe" not in case.summary


def test_a_group_without_obr_is_found_behind_a_good_one() -> None:
    second = "ORC|NW|PL2|F2\r"
    assert field(take(orm() + second)[0], "ERR", 2) == "OBR^1"


def test_a_cancellation_needs_no_obr() -> None:
    assert field(take(without(orm("CA"), "OBR"))[0], "MSA", 1) == "AA"


def test_the_second_identifier_of_a_patient_is_enough() -> None:
    person = "PID|1||^^^OTHER~P9^^^MAIN^MR||^Jane"
    assert field(take(adt(person=person))[0], "MSA", 1) == "AA"


def test_the_same_message_again_has_the_same_answer_and_no_second_effect() -> None:
    first, second = take(orm(), orm())
    (third,) = take(orm())
    assert first == second == third
    interface = HL7Application.objects.get()
    assert apply_messages(interface.pk) == 1
    events = WorkflowEvent.objects.count()
    assert take(orm()) == [first]
    assert apply_messages(interface.pk) == 0
    assert WorkflowEvent.objects.count() == events
    statuses = list(InboundMessage.objects.order_by("pk").values_list("status", flat=True))
    assert statuses == [InboundStatus.APPLIED, *[InboundStatus.DUPLICATE] * 3]
    assert InboundMessage.objects.filter(duplicate_of=InboundMessage.objects.earliest("pk")).count() == 3


def test_another_message_under_the_same_control_id_is_taken() -> None:
    take(adt(person=pid(name="Doe^Jane")))
    take(adt(person=pid(name="Roe^Jane")))
    assert InboundMessage.objects.filter(status=InboundStatus.RECEIVED).count() == 2


@pytest.mark.parametrize("message", [without(adt(), "PID", 3), "no message at all"])
def test_a_refused_message_that_is_sent_again_opens_no_second_case(message: str) -> None:
    assert take(message) == take(message)
    assert ExceptionCase.objects.count() == 1
    assert last().status == InboundStatus.DUPLICATE


def test_a_refused_message_is_taken_once_it_can_be() -> None:
    raw = adt(charset="").replace("Doe", "Müller").encode("latin-1")
    assert field(take(raw)[0], "MSA", 1) == "AE"
    HL7Application.objects.update(default_charset="8859/1")
    assert [field(answer, "MSA", 1) for answer in take(raw, raw)] == ["AA", "AA"]
    assert InboundMessage.objects.filter(status=InboundStatus.RECEIVED).count() == 1


@pytest.mark.parametrize(
    ("charset", "codec"), [("8859/1", "latin-1"), ("UNICODE UTF-8", "utf-8"), ("", "utf-8"), ("8859/15", "iso8859-15")]
)
def test_a_name_is_read_by_the_charset_of_msh_18(charset: str, codec: str) -> None:
    take(adt(person=pid(name="Müller^Jürgen"), charset=charset).encode(codec))
    apply_messages(HL7Application.objects.get().pk)
    assert Patient.objects.get().name == "Müller^Jürgen"


def test_text_in_another_charset_than_msh_18_says_is_refused_by_its_control_id_and_source() -> None:
    (answer,) = take(adt(control_id="77", person=pid(name="Müller"), charset="UNICODE UTF-8").encode("latin-1"))
    assert (field(answer, "MSA", 1), field(answer, "MSA", 2)) == ("AE", "77")
    assert field(answer, "ERR", 2) == "MSH^1^18"
    assert last().interface == HL7Application.objects.get()
    assert ExceptionCase.objects.get().source == "RIS|NORTH"


def test_html_in_a_name_is_kept_as_text() -> None:
    take(adt(person=pid(name="<script>alert(1)</script>^J")))
    apply_messages(HL7Application.objects.get().pk)
    assert Patient.objects.get().name == "<script>alert(1)</script>^J"


def test_nul_bytes_are_refused_and_the_others_of_the_batch_are_taken() -> None:
    hostile = adt(control_id="N\0UL", person=pid(name="D\0oe"))
    escaped = adt(control_id=r"E\X00\SC", application=r"R\X00\IS2")
    answers = take(adt(control_id="1"), hostile, escaped, adt(control_id="2"))
    assert [field(answer, "MSA", 1) for answer in answers] == ["AA", "AR", "AA", "AA"]
    assert InboundMessage.objects.filter(status=InboundStatus.REJECTED).get().control_id == "NUL"


def test_a_database_that_takes_nothing_refuses_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(judged: Any) -> None:
        raise InternalError("cannot execute UPDATE in a read-only transaction")

    take(adt(control_id="1"))
    with monkeypatch.context() as standby:
        standby.setattr(intake, "_store_usual", read_only)
        with pytest.raises(InternalError):
            take(adt(control_id="2"))
    assert [field(answer, "MSA", 1) for answer in take(adt(control_id="2"))] == ["AA"]


def test_a_counter_behind_its_messages_refuses_no_message() -> None:
    take(adt(control_id="1"))
    HL7Application.objects.update(last_sequence=0)
    with pytest.raises(IntegrityError):
        take(adt(control_id="2"))
    assert InboundMessage.objects.get().control_id == "1"


def test_an_unknown_sender_is_refused_recorded_and_one_case_asks_for_a_decision(settings: Settings) -> None:
    settings.TRUST = "known"
    make_site()
    answers = take(adt(control_id="1"), adt(control_id="2")) + take(adt(control_id="3"))
    assert [field(answer, "MSA", 1) for answer in answers] == ["AR"] * 3
    assert field(answers[0], "ERR", 2) == "MSH^1^3"
    assert not HL7Application.objects.exists()
    assert InboundMessage.objects.filter(status=InboundStatus.REJECTED, interface=None).count() == 3
    caller = UnknownCaller.objects.get()
    assert (caller.name, caller.refused) == ("RIS|NORTH", True)
    case = ExceptionCase.objects.get()
    assert (case.kind, case.subject_id) == ("unknown_sender", caller.pk)


def test_a_sender_from_another_machine_is_not_trusted_as_one_of_this_machine() -> None:
    assert field(take(adt(), address="192.0.2.7")[0], "MSA", 1) == "AR"
    assert ExceptionCase.objects.get().kind == "unknown_sender"


def test_a_sender_that_was_allowed_meanwhile_is_taken_with_what_was_refused(settings: Settings) -> None:
    settings.TRUST = "known"
    take(adt())
    HL7Application.objects.create(sending_application="RIS", sending_facility="NORTH", name="RIS", site=make_site())
    assert field(take(adt())[0], "MSA", 1) == "AA"


def test_a_sender_that_is_switched_off_is_refused() -> None:
    take(adt())
    HL7Application.objects.update(enabled=False)
    (answer,) = take(adt(control_id="2"))
    assert "switched off" in field(answer, "ERR", 8)


def test_interfaces_have_their_own_order() -> None:
    take(adt(control_id="1"), adt(control_id="1", application="HIS"), adt(control_id="2"))
    take(adt(control_id="3"))
    rows = InboundMessage.objects.order_by("pk").values_list("interface__sending_application", "sequence")
    assert list(rows) == [("RIS", 1), ("HIS", 1), ("RIS", 2), ("RIS", 3)]


def test_unknown_segments_are_no_harm() -> None:
    assert field(take(orm() + "ZZZ|1|2\rMSH")[0], "MSA", 1) == "AA"
    apply_messages(HL7Application.objects.get().pk)
    assert ImagingServiceRequest.objects.count() == 1


def test_the_answer_carries_the_senders_version_and_processing_id() -> None:
    (answer,) = take(msh("ADT^A01", "1").replace("|P|2.5.1", "|T|2.3") + "\r" + pid())
    assert (field(answer, "MSH", 10), field(answer, "MSH", 11)) == ("T", "2.3")
