"""What the hospital makes of what Fiducial did: nothing wrong may pass for right or held."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.simulator.faults import FAULTS
from orchestrator.simulator.mllp_out import Answer
from orchestrator.simulator.orders import Exam
from orchestrator.simulator.planner import Habits, Planner, run_stamp
from orchestrator.simulator.truth import Found, Judgement, Merge, Verdict, judge

ASKING = {"id": 1, "kind": "unmatched_study", "reason_code": "NO_ORDER"}
STRANGER = {"value": "999999", "issuer": "SOUTH"}
FOREIGN = {"filler_order_number": "F-FOREIGN", "accession_number": "A-FOREIGN"}


@pytest.fixture
def planner() -> Planner:
    return Planner(seed=3, stamp=run_stamp(), fault_share=0.0, fault_weights=None, habits=Habits(group=0.0))


@pytest.fixture
def exam(planner: Planner) -> Exam:
    return planner.plain(1, dt.datetime.now(tz=dt.UTC).astimezone())


def with_fault(exam: Exam, name: str) -> Exam:
    return replace(exam, fault=FAULTS[name])


def identifier(exam: Exam) -> dict[str, str]:
    return {"value": exam.person.patient_id, "issuer": exam.person.issuer}


def ordered(exam: Exam) -> dict[str, str]:
    return {"filler_order_number": exam.order.filler_order_number, "accession_number": exam.order.accession_number}


def study(exam: Exam, identity: str = "MATCHED", *by: str, **told: Any) -> dict[str, Any]:
    """As the API tells of it: matched to the true patient and order, but for what is told otherwise."""
    claims = [{"matched_by": each} for each in by or ("auto",)]
    said = {"patient": {"identifiers": [identifier(exam)]}, "orders": [ordered(exam)]} if identity == "MATCHED" else {}
    return {"identity": identity, "claims": claims, "number_of_instances": 4, **said, **told}


def verdict(exam: Exam, found: Found, merge: Merge | None = None) -> Verdict:
    said: Judgement = judge(exam, 4, merge, found)
    return said.verdict


def test_the_true_patient_and_order_are_right(exam: Exam) -> None:
    assert verdict(exam, Found(study(exam))) is Verdict.RIGHT


def test_a_record_that_is_somebody_elses_too_is_wrong(exam: Exam) -> None:
    shared = {"identifiers": [identifier(exam), STRANGER]}
    assert verdict(exam, Found(study(exam, patient=shared))) is Verdict.WRONG


def test_the_record_that_was_merged_into_the_patients_is_the_patients_own(exam: Exam) -> None:
    subsumed = replace(exam.person, patient_id="OLD")
    merged = {"identifiers": [identifier(exam), {"value": "OLD", "issuer": exam.person.issuer}]}
    merge = Merge(subsumed, Answer("AA", "", "1"))
    assert verdict(replace(exam, subsumed=subsumed), Found(study(exam, patient=merged)), merge) is Verdict.RIGHT


@pytest.mark.parametrize("by", ["auto", "person"])
def test_another_order_is_wrong_also_where_there_was_none(exam: Exam, by: str) -> None:
    for each in (exam, with_fault(exam, "no_order")):
        assert verdict(each, Found(study(each, "MATCHED", by, orders=[FOREIGN]))) is Verdict.WRONG


def test_held_in_part_and_matched_to_a_strangers_order_is_wrong(exam: Exam, planner: Planner) -> None:
    mixed = replace(with_fault(exam, "second_patient"), neighbour=planner.beside(exam))
    assert mixed.neighbour is not None
    for orders, expected in (
        ([ordered(exam)], Verdict.HELD),
        ([ordered(mixed.neighbour)], Verdict.HELD),
        ([FOREIGN], Verdict.WRONG),
    ):
        assert verdict(mixed, Found(study(mixed, "HELD", orders=orders), [ASKING])) is expected


def test_a_case_that_asks_something_else_does_not_explain_that_a_study_is_held(exam: Exam) -> None:
    mistyped = with_fault(exam, "typing_error")
    assert verdict(mistyped, Found(study(mistyped, "HELD"), [ASKING])) is Verdict.HELD
    other = {"id": 2, "kind": "incomplete_study", "reason_code": "MPPS_MORE"}
    assert verdict(mistyped, Found(study(mistyped, "HELD"), [other])) is Verdict.UNEXPLAINED


def test_one_guess_among_what_a_person_settled_is_a_guess(exam: Exam) -> None:
    guessed = with_fault(exam, "no_order")
    assert verdict(guessed, Found(study(guessed, "MATCHED", "person"))) is Verdict.RIGHT
    assert verdict(guessed, Found(study(guessed, "MATCHED", "person", "auto"))) is Verdict.WRONG


def test_lost_objects_are_never_right(exam: Exam) -> None:
    assert verdict(exam, Found(study(exam, number_of_instances=3))) is Verdict.UNEXPLAINED
