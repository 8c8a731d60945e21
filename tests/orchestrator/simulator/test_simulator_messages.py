"""The HL7 that the hospital sends: fields where the standard has them, read here by position."""

from datetime import datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.simulator import hl7_out, mllp_out
from orchestrator.simulator.faults import Fault
from orchestrator.simulator.orders import STATIONS, Exam, Planner
from orchestrator.simulator.people import mistyped, somebody

AT = datetime(2026, 11, 23, 14, 5, 9).astimezone()
START = datetime(2026, 11, 23, 14, 0).astimezone()
HEADER = hl7_out.Header("RIS", "ORM^O01^ORM_O01", "R123", AT)


def plan(number: int = 1, faults: float = 0) -> Exam:
    return Planner(seed=2, stamp="ABCDEF12", fault_share=faults).exam(number, START)


def segments(message: str) -> dict[str, list[str]]:
    """Field n of a segment is at index n; MSH-1 is put back."""
    lines = message.removesuffix("\r").split("\r")
    found = {line[:3]: line.split("|") for line in lines}
    found["MSH"].insert(1, "|")
    return found


def test_an_order_carries_the_fields_that_the_worklist_is_made_of() -> None:
    exam = plan()
    order = exam.order
    found = segments(hl7_out.order(HEADER, exam, exam.person, order, "NW"))

    msh, pid, pv1, orc, obr = (found[name] for name in ("MSH", "PID", "PV1", "ORC", "OBR"))
    assert (msh[2], msh[3], msh[9], msh[10], msh[11], msh[12]) == (
        "^~\\&",
        "RIS",
        "ORM^O01^ORM_O01",
        "R123",
        "P",
        "2.5.1",
    )
    assert (msh[7], msh[15], msh[16], msh[18]) == ("20261123140509", "", "", "UNICODE UTF-8")
    assert pid[3] == f"{exam.person.patient_id}^^^NORTH^PI"
    assert (pid[7], pid[8]) == (exam.person.birth_date, exam.person.sex)
    assert pv1[19].split("^")[0] == exam.visit_number
    assert (orc[1], orc[5], orc[18]) == ("NW", "SC", f"{order.procedure.station}^^L")
    assert orc[2].split("^")[0] == obr[2].split("^")[0] == order.placer_order_number
    assert orc[3].split("^")[0] == obr[3].split("^")[0] == order.filler_order_number
    assert orc[7].split("^")[3] == obr[27].split("^")[3] == "20261123140000"
    assert (obr[18], obr[19], obr[20], obr[24]) == (
        order.accession_number,
        order.requested_procedure_id,
        order.sps_id,
        order.procedure.modality,
    )
    assert obr[4].split("^")[0] == obr[44].split("^")[0] == order.procedure.code


def test_only_a_share_of_the_orders_brings_its_study_uid() -> None:
    with_uid = 0
    for number in range(1, 201):
        exam = plan(number)
        found = segments(hl7_out.order(HEADER, exam, exam.person, exam.order, "NW"))
        if "ZDS" in found:
            with_uid += 1
            assert found["ZDS"][1] == f"{exam.order.study_instance_uid}^^RIS^DICOM"
    assert 60 < with_uid < 140


def test_a_cancellation_says_so_twice() -> None:
    exam = plan()
    orc = segments(hl7_out.order(HEADER, exam, exam.person, exam.order, "CA"))["ORC"]
    assert (orc[1], orc[5]) == ("CA", "CA")


def test_the_prefix_stands_fifth_in_hl7_and_fourth_in_dicom() -> None:
    person = next(found for seed in range(500) if (found := somebody(Random(seed), "1", AT.date())).prefix)
    pid = segments(hl7_out.registration(HEADER, plan(), person))["PID"]
    assert pid[5].split("^")[4] == person.prefix
    assert person.dicom_name.split("^")[3] == person.prefix


@given(st.text(alphabet="ab|^~\\&ü", max_size=30))
def test_an_escaped_value_holds_no_delimiter(text: str) -> None:
    escaped = hl7_out.escape(text)
    assert not set(escaped) & set("|^~&")
    assert escaped.count("\\") == 2 * sum(text.count(delimiter) for delimiter in "|^~\\&")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"MSH|^~\\&\rMSA|AA|R1\r", mllp_out.Answer("AA", "")),
        (b"MSH|^~\\&\rMSA|AE|R1|no patient\rERR||PID^1^3|101^Required field missing\r", None),
        (b"MSH|^~\\&\rMSA|AA|R2\r", "other"),
        (b"", "other"),
    ],
)
def test_an_answer_counts_only_for_the_message_it_names(answer: bytes, expected: object) -> None:
    read = mllp_out.read_answer(answer, "R1")
    if expected == "other":
        assert read is None
    elif expected is None:
        assert read is not None
        assert not read.accepted
        assert read.text == "no patient PID^1^3 101^Required field missing"
    else:
        assert read == expected


@given(st.integers(min_value=0, max_value=10**6))
def test_a_mistyped_name_is_never_the_right_one(seed: int) -> None:
    person = somebody(Random(seed), "1", AT.date())
    wrong = mistyped(Random(seed), person)
    assert (wrong.family, wrong.given) != (person.family, person.given)
    assert wrong.family.strip()
    assert wrong.given.strip()
    assert (wrong.patient_id, wrong.birth_date) == (person.patient_id, person.birth_date)


def test_a_plan_is_the_same_for_the_same_seed() -> None:
    assert [plan(number, 0.5) for number in range(1, 30)] == [plan(number, 0.5) for number in range(1, 30)]


def test_another_fault_share_changes_no_person() -> None:
    assert [plan(number, 0).person for number in range(1, 50)] == [plan(number, 1).person for number in range(1, 50)]


def test_every_kind_of_exam_happens() -> None:
    exams = [plan(number, 0.3) for number in range(1, 600)]
    assert {exam.order.procedure.station for exam in exams} == set(STATIONS)
    assert {exam.fault for exam in exams} == {None, *Fault}
    for happening in ("registered_as", "ordered_as", "canceled", "neighbour"):
        assert any(getattr(exam, happening) for exam in exams), happening
    assert 0.2 < sum(exam.fault is not None for exam in exams) / len(exams) < 0.4


def test_every_number_fits_its_dicom_attribute() -> None:
    exam = plan(999_999, 1)
    order = exam.order
    for number in (order.accession_number, order.requested_procedure_id, order.sps_id, exam.visit_number):
        assert len(number) <= 16
