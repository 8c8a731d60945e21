"""What lies in the hospital's archives is judged too: all that is matched, and nothing that is held."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.simulator.faults import FAULTS
from orchestrator.simulator.judge import judge
from orchestrator.simulator.orders import Exam
from orchestrator.simulator.planner import Planner, run_stamp
from orchestrator.simulator.truth import Verdict, number_of
from tests.orchestrator.simulator.told import (
    OBJECTS,
    THEIRS,
    by_number,
    case,
    claim,
    found,
    kept,
    order,
    sent,
    study,
)


@pytest.fixture
def exam() -> Exam:
    return Planner(seed=3, stamp=run_stamp()).plain(1, dt.datetime.now(tz=dt.UTC).astimezone())


def at(exam: Exam, objects: set[str] = OBJECTS, /, **otherwise: str) -> dict[str, Any]:
    """The main archive holds these, under the truth but for what is said otherwise; the night archive nothing."""
    filed = kept(exam.person, exam.order.accession_number, objects, **otherwise)
    return {"all_to": "ARCHIVE", "kept": {"ARCHIVE": filed, "NIGHT": {}}}


def test_what_is_matched_and_all_there_is_right(exam: Exam) -> None:
    assert judge(sent(exam), found(exam, **at(exam))).verdict is Verdict.RIGHT


def test_what_is_matched_and_not_at_the_archive_is_unexplained_and_may_still_come(exam: Exam) -> None:
    said = judge(sent(exam), found(exam, **at(exam, {"1.1"})))
    assert (said.reason, said.settled) == ("3 of 4 objects are not at ARCHIVE", False)
    misspelt = judge(sent(exam), found(exam, **at(exam, {"1.1"}, sex="another")))
    assert (misspelt.reason, misspelt.awaits_archive) == ("1 objects are at ARCHIVE with another sex", False)
    elsewhere = {**at(exam, set()), "all_to": ""}
    assert judge(sent(exam), found(exam, **elsewhere)).verdict is Verdict.RIGHT


@pytest.mark.parametrize("otherwise", [{"patient_id": "another"}, {"issuer": "ANOTHER"}, {"issuer": ""}])
def test_what_is_filed_under_another_patient_is_wrong(exam: Exam, otherwise: dict[str, str]) -> None:
    said = judge(sent(exam), found(exam, **at(exam, **otherwise)))
    assert said.verdict is Verdict.WRONG
    assert said.reason == "4 objects are at ARCHIVE under another patient id or issuer"


@pytest.mark.parametrize("field", ["patient_name", "birth_date", "sex", "accession_number"])
def test_what_is_filed_with_other_values_is_unexplained(exam: Exam, field: str) -> None:
    said = judge(sent(exam), found(exam, **at(exam, **{field: "another"})))
    assert said.reason == f"4 objects are at ARCHIVE with another {field.replace('_', ' ')}"


def test_what_is_held_and_yet_at_an_archive_is_unexplained_unless_a_case_says_so(exam: Exam) -> None:
    noticed = replace(exam, fault=FAULTS["wrong_entry_noticed"], neighbour=exam)
    asked = case("WRONG_WORKLIST_ENTRY", "wrong_worklist_entry")
    waiting = {"orders": by_number(order(noticed, status="SCHEDULED"))}
    nowhere = found(noticed, claim(noticed, ""), cases=[asked], **waiting, **at(noticed, set()))
    assert judge(sent(noticed), nowhere).verdict is Verdict.HELD
    leaked = found(noticed, claim(noticed, ""), cases=[asked], **waiting, **at(noticed))
    assert judge(sent(noticed), leaked).reason == "not matched, and 4 of its objects are at ARCHIVE"
    told = [asked, case("UNMATCHED_AFTER_DELIVERY", "already_delivered", 1, 8)]
    said = found(noticed, claim(noticed, ""), cases=told, **waiting, **at(noticed))
    assert judge(sent(noticed), said).verdict is Verdict.HELD
    for code, number in (("CORRECTED_AFTER_DELIVERY", 1), ("UNMATCHED_AFTER_DELIVERY", 2)):
        another = [asked, case(code, "already_delivered", number, 8)]
        said = found(noticed, claim(noticed, ""), cases=another, **waiting, **at(noticed))
        assert judge(sent(noticed), said).reason == "not matched, and 4 of its objects are at ARCHIVE"


def test_what_was_made_of_the_images_and_whatever_else_is_of_the_study_is_looked_for_too(exam: Exam) -> None:
    slip = replace(exam, fault=FAULTS["typing_error"])
    asked = {"cases": [case("NAME_DIFFERS", "patient_conflict")]}
    there = sent(slip, derived={"3.1": "1.1"})
    told = study(slip, claim(slip, ""), number_of_instances=5)
    for leaked in ("3.1", "4.1"):
        said = judge(there, found(slip, study=told, **asked, **at(slip, {leaked})))
        assert said.reason == "not matched, and 1 of its objects are at ARCHIVE"
    assert judge(there, found(slip, study=told, **asked, **at(slip, set()))).verdict is Verdict.HELD

    by_hand = study(slip, claim(slip, "person"), number_of_instances=5)
    assert judge(there, found(slip, study=by_hand, **at(slip))).verdict is Verdict.RIGHT
    filed = at(slip)
    filed["kept"]["ARCHIVE"] |= kept(slip.person, slip.order.accession_number, {"3.1"}, patient_id="another")
    assert judge(there, found(slip, study=by_hand, **filed)).verdict is Verdict.WRONG


def test_of_two_people_in_one_study_each_ones_images_are_looked_for(exam: Exam) -> None:
    other = Planner(seed=3, stamp=run_stamp()).beside(exam)
    mixed = replace(exam, fault=FAULTS["second_patient"], neighbour=other)
    claims = (claim(mixed, "person"), claim(other, "", id=2))
    there = sent(mixed, others=THEIRS)
    said = {
        "orders": by_number(order(mixed), order(other, status="SCHEDULED")),
        "offered": {7: {number_of(other.order)}}, "cases": [case("TWO_PATIENTS", "study_uid_conflict", 2)],
        "study": study(mixed, *claims, patient=None, number_of_instances=6),
    }  # fmt: skip
    assert judge(there, found(mixed, **said, **at(mixed))).verdict is Verdict.HELD
    assert judge(there, found(mixed, **said, **at(mixed, {"1.1"}))).reason == "3 of 4 objects are not at ARCHIVE"
    leaked = at(mixed)
    leaked["kept"]["NIGHT"] = kept(other.person, other.order.accession_number, THEIRS)
    assert judge(there, found(mixed, **said, **leaked)).reason == "not matched, and 2 of its objects are at NIGHT"
