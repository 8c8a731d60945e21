"""The HL7 that the hospital sends, and the plans behind it: fields where the standard has them, read by position."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from random import Random
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.simulator import hl7_out, mllp_out
from orchestrator.simulator.faults import FAULTS, ORDINARY
from orchestrator.simulator.orders import Arrival, Exam
from orchestrator.simulator.people import somebody
from orchestrator.simulator.planner import Habits, Planner
from orchestrator.simulator.sites import HOUSES, NORTH, STATIONS
from orchestrator.simulator.spelling import letters, maiden, mistyped, swapped, transliterated

AT = datetime(2026, 11, 23, 14, 5, 9).astimezone()
START = datetime(2026, 11, 23, 14, 0).astimezone()
HEADER = hl7_out.Header("RIS", "NORTH", "ORM^O01^ORM_O01", "R123", AT)


def plan(number: int = 1, faults: float = 0, **more: Any) -> Exam:
    return Planner(seed=2, stamp="ABCDEF12", fault_share=faults, **more).exam(number, START)


def at_north() -> Exam:
    return next(exam for exam in map(plan, range(1, 100)) if exam.house is NORTH and not exam.further)


def segments(message: str) -> dict[str, list[str]]:
    """Field n of a segment is at index n; MSH-1 is put back."""
    lines = message.removesuffix("\r").split("\r")
    found = {line[:3]: line.split("|") for line in lines}
    found["MSH"].insert(1, "|")
    return found


def test_an_order_carries_the_fields_that_the_worklist_is_made_of() -> None:
    exam = at_north()
    order = exam.order
    found = segments(hl7_out.order(HEADER, exam, exam.person, [order], "NW"))

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
    assert (orc[1], orc[5], orc[18]) == ("NW", "SC", f"{order.station.ae_title}^^L")
    assert orc[2].split("^")[0] == obr[2].split("^")[0] == order.placer_order_number
    assert orc[3].split("^")[0] == obr[3].split("^")[0] == order.filler_order_number
    assert orc[7].split("^")[3] == obr[27].split("^")[3] == "20261123140000"
    assert (obr[18], obr[19], obr[20], obr[24]) == (
        order.accession_number,
        order.requested_procedure_id,
        order.sps_id,
        order.station.modality,
    )
    assert obr[4].split("^")[0] == obr[44].split("^")[0] == order.procedure.code


def test_only_a_share_of_the_orders_brings_its_study_uid() -> None:
    with_uid = 0
    for number in range(1, 201):
        exam = plan(number)
        found = segments(hl7_out.order(HEADER, exam, exam.person, [exam.order], "NW"))
        if "ZDS" in found:
            with_uid += 1
            assert found["ZDS"][1] == f"{exam.order.study_instance_uid}^^{exam.house.ris}^DICOM"
    assert 60 < with_uid < 140


def test_a_cancellation_says_so_twice() -> None:
    exam = plan()
    orc = segments(hl7_out.order(HEADER, exam, exam.person, [exam.order], "CA"))["ORC"]
    assert (orc[1], orc[5]) == ("CA", "CA")


def test_the_prefix_stands_fifth_in_hl7_and_fourth_in_dicom() -> None:
    person = next(found for seed in range(500) if (found := somebody(Random(seed), "1", "NORTH", AT.date())).prefix)
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
        (b"MSH|^~\\&\rMSA|AA|R1\r", mllp_out.Answer("AA", "", "R1")),
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


def test_of_a_message_sent_twice_the_worse_answer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = mllp_out.Sender(
        "HIS", "NORTH", ("127.0.0.1", 1), stamp="S", stop=Event(), patience=1, traffic=mllp_out.Traffic()
    )
    for codes in (["AE", "AA"], ["AA", "AE"]):
        said = iter(codes)

        def exchange(_self: mllp_out.Sender, payload: bytes, said: Iterator[str] = said) -> bytes:
            return f"MSH|^~\\&\rMSA|{next(said)}|{payload.split(b'|')[9].decode()}\r".encode()

        monkeypatch.setattr(mllp_out.Sender, "_exchange", exchange)
        assert sender.send("ADT^A08", hl7_out.Header.segment, times=2).code == "AE"


@given(st.integers(min_value=0, max_value=10**6))
def test_a_mistyped_name_is_never_the_right_one(seed: int) -> None:
    person = somebody(Random(seed), "1", "NORTH", AT.date())
    wrong = mistyped(Random(seed), person)
    assert letters(wrong.dicom_name) != letters(person.dicom_name)
    assert wrong.family.strip()
    assert wrong.given.strip()
    assert (wrong.patient_id, wrong.birth_date) == (person.patient_id, person.birth_date)


@pytest.mark.parametrize("given", ["Quốc Bảo", "Mary-Ann", "O'Neil"])
def test_one_more_space_or_hyphen_is_no_slip(given: str) -> None:
    person = replace(somebody(Random(1), "1", "NORTH", AT.date()), family=given, given=given)
    for seed in range(60):
        wrong = mistyped(Random(seed), person)
        assert {tuple(re.findall(r"\w+", part)) for part in (wrong.family, wrong.given)} != {
            tuple(re.findall(r"\w+", given))
        }


def test_a_plan_is_the_same_for_the_same_seed() -> None:
    assert [plan(number, 0.5) for number in range(1, 30)] == [plan(number, 0.5) for number in range(1, 30)]


def test_another_fault_share_changes_no_person_and_no_order() -> None:
    for number in range(1, 50):
        plain, faulty = plan(number, 0), plan(number, 1)
        assert plain.person == faulty.person
        assert plain.order.accession_number == faulty.order.accession_number
        assert plain.order.procedure == faulty.order.procedure


def test_what_other_exams_do_changes_no_exam() -> None:
    alone = plan(7, 1)
    for number in range(1, 12):
        plan(number, 1)
    assert plan(7, 1) == alone


def test_every_kind_of_exam_happens() -> None:
    exams = [plan(number, 0.3, habits=Habits(group=0.3)) for number in range(1, 900)]
    assert {exam.order.station for exam in exams} == set(STATIONS)
    assert {exam.house for exam in exams} == set(HOUSES)
    assert {exam.arrival for exam in exams} == set(Arrival)
    assert {exam.fault for exam in exams} == {ORDINARY, *FAULTS.values()}
    for happening in ("registered_as", "ordered_as", "canceled", "neighbour", "further", "group", "appended"):
        assert any(getattr(exam, happening) for exam in exams), happening
    assert 0.2 < sum(exam.fault.happens for exam in exams) / len(exams) < 0.4


def test_an_exam_in_which_something_goes_wrong_takes_turns_too() -> None:
    faults = dict.fromkeys(("half_sent", "wrong_entry_noticed", "late_update", "typing_error"), 1.0)
    exams = [plan(number, 1, fault_weights=faults) for number in range(1, 400)]
    for happening in ("registered_as", "ordered_as", "canceled", "further", "appended"):
        # Typed in by hand nothing tells which step of an order it was.
        possible = faults.keys() - ({"typing_error"} if happening == "further" else set())
        assert {exam.fault.name for exam in exams if getattr(exam, happening)} == possible, happening


@pytest.mark.parametrize("fault", ["no_order", "temporary_identity"])
def test_an_emergency_comes_as_one(fault: str) -> None:
    exam = plan(3, 1, fault_weights={fault: 1.0})
    assert (exam.arrival, exam.order.priority) == (Arrival.EMERGENCY, "S")


def test_a_console_whose_clock_is_wrong_shows_another_day_now_and_then() -> None:
    shown = set()
    for number in (1, 2, 3):
        exam = plan(number, 1, fault_weights={"clock_drift": 1.0})
        course: Any = SimpleNamespace(exam=exam)
        shown.add(exam.fault.clock(course, AT).date() == AT.date())
    assert shown == {True, False}


def test_only_the_faults_that_were_asked_for_happen() -> None:
    exams = [plan(number, 0.5, fault_weights={"half_sent": 0.4, "study_twice": 0.1}) for number in range(1, 200)]
    counted = Counter(exam.fault.name for exam in exams)
    assert set(counted) == {"", "half_sent", "study_twice"}
    assert counted["half_sent"] > 2 * counted["study_twice"]


def test_no_group_case_happens_unless_it_is_asked_for() -> None:
    assert not any(plan(number).group for number in range(1, 400))


def test_the_same_number_is_another_person_in_another_house() -> None:
    people = {plan(number).person for number in range(1, 200)}
    numbers = Counter(person.patient_id for person in people)
    assert max(numbers.values()) == 2
    assert len({(person.patient_id, person.issuer) for person in people}) == len(people)


def test_two_steps_of_a_procedure_share_its_study_and_two_procedures_do_not() -> None:
    several = [exam for exam in map(plan, range(1, 600)) if exam.further]
    same = {exam.order.requested_procedure_id == exam.further[0].requested_procedure_id for exam in several}
    assert same == {True, False}
    for exam in several:
        [other] = exam.further
        assert other.sps_id != exam.order.sps_id
        assert other.filler_order_number == exam.order.filler_order_number
        if other.requested_procedure_id != exam.order.requested_procedure_id and other.study_instance_uid:
            assert other.study_instance_uid != exam.order.study_instance_uid


def test_an_order_of_two_steps_is_two_groups_of_one_message() -> None:
    exam = next(exam for exam in map(plan, range(1, 600)) if exam.further)
    lines = hl7_out.order(HEADER, exam, exam.person, exam.steps, "NW").split("\r")
    assert [line.split("|")[1] for line in lines if line.startswith("OBR")] == ["1", "2"]
    assert [line.split("|")[20] for line in lines if line.startswith("OBR")] == [step.sps_id for step in exam.steps]


def test_a_merge_names_who_lives_on_and_who_does_not() -> None:
    exam = plan(3, 1, fault_weights={"temporary_identity": 1.0})
    assert exam.subsumed is not None
    header = hl7_out.Header("HIS", "NORTH", "ADT^A40^ADT_A39", "H1", AT)
    found = segments(hl7_out.merge(header, exam.person, exam.subsumed))
    assert found["EVN"][1] == "A40"
    assert found["PID"][3].split("^")[0] == exam.person.patient_id
    assert found["MRG"][1] == f"{exam.subsumed.patient_id}^^^{exam.person.issuer}^PI"


def test_who_says_no_issuer_leaves_its_place_empty() -> None:
    exam = at_north()
    silent = replace(exam.person, issuer="")
    pid = segments(hl7_out.registration(HEADER, exam, silent))["PID"]
    assert pid[3] == f"{silent.patient_id}^^^^PI"


def test_a_name_in_another_alphabet_comes_out_in_plain_letters() -> None:
    for number in range(1, 200):
        written = transliterated(plan(number).person)
        assert (written.family + written.given).isascii(), written
    person = replace(plan().person, family="Müller", given="Γιώργος")
    assert (transliterated(person).family, transliterated(person).given) == ("Mueller", "Giorgos")


def test_parts_change_places_and_a_maiden_name_is_another_name() -> None:
    person = plan().person
    assert (swapped(person).family, swapped(person).given) == (person.given, person.family)
    assert maiden(Random(1), person).family != person.family


def test_each_kind_of_fault_comes_once_before_one_comes_again() -> None:
    kinds, named = len(FAULTS), {"study_twice": 0.5, "no_order": 0.5}
    turns = [[plan(number, faults=1).fault.name for number in range(first, first + kinds)] for first in (1, kinds + 1)]
    assert [sorted(turn) for turn in turns] == [sorted(FAULTS)] * 2
    assert turns[0] != turns[1]
    assert {plan(number, faults=1, fault_weights=named).fault.name for number in (1, 2)} == set(named)


@pytest.mark.parametrize("suffix", ["", "X"])
def test_every_number_fits_its_dicom_attribute(suffix: str) -> None:
    planner = Planner(seed=2, stamp="ABCDEF12")
    for station in STATIONS:
        order = planner.order(99_999, station, START, suffix)
        for number in (order.accession_number, order.requested_procedure_id, order.sps_id):
            assert len(number) <= 16
