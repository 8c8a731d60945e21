"""What the hospital makes of what Fiducial did: nothing wrong may pass for right or held."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.simulator.faults import FAULTS, Hold
from orchestrator.simulator.faults.expected import ABOUT_IMAGES, EXPECTED
from orchestrator.simulator.judge import judge
from orchestrator.simulator.orders import Exam
from orchestrator.simulator.planner import Habits, Planner, run_stamp
from orchestrator.simulator.truth import Found, Judgement, Merge, Sent, Verdict, number_of
from tests.orchestrator.simulator.told import (
    FOREIGN,
    STRANGER,
    by_number,
    case,
    claim,
    found,
    identifier,
    order,
    record,
    refused,
    sent,
    study,
)

RIGHT, HELD, WRONG, UNEXPLAINED = Verdict.RIGHT, Verdict.HELD, Verdict.WRONG, Verdict.UNEXPLAINED
NEEDED = [name for name, row in EXPECTED.items() if row.hold is Hold.NEEDED and not row.needs_merge]
NOT_FAIR = [name for name, row in EXPECTED.items() if row.hold is Hold.UNEXPLAINED]


@pytest.fixture
def planner() -> Planner:
    return Planner(seed=3, stamp=run_stamp(), fault_share=0.0, fault_weights=None, habits=Habits(group=0.0))


@pytest.fixture
def exam(planner: Planner) -> Exam:
    return planner.plain(1, dt.datetime.now(tz=dt.UTC).astimezone())


def with_fault(exam: Exam, name: str) -> Exam:
    return replace(exam, fault=FAULTS[name])


def verdict(sent: Sent, found: Found) -> Verdict:
    said: Judgement = judge(sent, found)
    return said.verdict


def reason(sent: Sent, found: Found) -> str:
    return judge(sent, found).reason


def held(exam: Exam, *codes: str, kind: str = "", **otherwise: Any) -> Found:
    """Held, and asked about for these reasons, or for one that the fault allows."""
    row = EXPECTED[exam.fault.name]
    codes = codes or tuple(sorted(row.reasons))[:1]
    kind = kind or min(row.kinds & ABOUT_IMAGES)
    return found(exam, claim(exam, ""), **{"cases": [case(code, kind) for code in codes], **otherwise})


# --- the table ------------------------------------------------------------------------------------


def test_every_fault_has_one_row_of_the_table() -> None:
    assert set(EXPECTED) == set(FAULTS)
    for name, row in EXPECTED.items():
        assert row.holding_is_fair == bool(row.kinds & ABOUT_IMAGES), name
        assert bool(row.reasons) == bool(row.kinds - {"already_delivered"}), name


@pytest.mark.parametrize("name", NEEDED)
def test_where_a_match_would_be_a_guess_only_a_person_may_match(exam: Exam, name: str) -> None:
    guessed = with_fault(exam, name)
    assert verdict(sent(guessed), held(guessed)) is HELD
    assert verdict(sent(guessed), found(guessed, claim(guessed, "person"))) is RIGHT
    assert reason(sent(guessed), found(guessed)).startswith("matched by a guess")


@pytest.mark.parametrize("name", NOT_FAIR)
def test_where_all_is_proved_a_person_who_had_to_settle_it_is_a_defect(exam: Exam, name: str) -> None:
    proved = with_fault(exam, name)
    done = order(proved, status=next(iter(EXPECTED[name].steps)))
    assert verdict(sent(proved), found(proved, orders=by_number(done))) is RIGHT
    by_hand = found(proved, claim(proved, "person"), orders=by_number(done))
    assert reason(sent(proved), by_hand).startswith("a person had to settle it")
    asked = found(proved, claim(proved, ""), cases=[case("NO_ORDER")])
    assert reason(sent(proved), asked).startswith("held although it can be matched")


# --- whose images ---------------------------------------------------------------------------------


def test_the_true_patient_and_order_are_right(exam: Exam) -> None:
    assert verdict(sent(exam), found(exam)) is RIGHT
    assert reason(sent(exam), found(exam)) == "matched to its order, by auto"


@pytest.mark.parametrize("by", ["auto", "person"])
def test_another_order_is_wrong_also_where_there_was_none(exam: Exam, by: str) -> None:
    for each in (exam, with_fault(exam, "no_order")):
        assert verdict(sent(each), found(each, claim(each, by, order=FOREIGN))) is WRONG


def test_another_procedure_of_the_order_is_wrong(exam: Exam) -> None:
    other = claim(exam, step={"sps_id": "S2", "requested_procedure_id": "R2"})
    assert reason(sent(exam), found(exam, other)) == "matched to another procedure of its order (S2)"


def test_a_record_that_is_another_ones_or_another_ones_too_is_wrong(exam: Exam) -> None:
    for identifiers in ([STRANGER], [identifier(exam.person), STRANGER]):
        told = order(exam, patient=record(exam.person, identifiers=identifiers))
        assert verdict(sent(exam), found(exam, orders=by_number(told))) is WRONG
    stranger = study(exam, patient=record(exam.person, identifiers=[STRANGER]))
    assert verdict(sent(exam), found(exam, study=stranger)) is WRONG


@pytest.mark.parametrize(
    ("otherwise", "named"),
    [({"name": "Garbled^Name"}, "name"), ({"birth_date": "1900-01-01"}, "birth date"), ({"sex": "U"}, "sex")],
)
def test_a_record_that_says_something_else_of_the_person_is_unexplained(
    exam: Exam, otherwise: dict[str, str], named: str
) -> None:
    late = with_fault(exam, "late_update")
    told = order(late, patient=record(late.person, **otherwise))
    assert reason(sent(late), found(late, orders=by_number(told))) == f"the patient's record says another {named}"


def test_a_hold_that_asks_nobody_or_about_something_else_is_unexplained(exam: Exam) -> None:
    slip = with_fault(exam, "typing_error")
    assert verdict(sent(slip), held(slip, cases=[])) is UNEXPLAINED
    assert verdict(sent(slip), held(slip, cases=[case("MPPS_MORE", "incomplete_study")])) is UNEXPLAINED
    of_another = [case("NAME_DIFFERS", "patient_conflict", claim=2)]
    assert verdict(sent(slip), held(slip, cases=of_another)) is UNEXPLAINED


def test_a_hold_for_another_reason_than_the_fault_is_unexplained(exam: Exam) -> None:
    slip = with_fault(exam, "typing_error")
    assert verdict(sent(slip), held(slip, "NAME_DIFFERS")) is HELD
    assert reason(sent(slip), held(slip, "NO_ORDER")).startswith("held for a reason that is not the true one")
    assert verdict(sent(slip), held(slip, "NAME_DIFFERS", kind="wrong_worklist_entry")) is UNEXPLAINED


def test_a_hold_that_does_not_offer_the_true_order_is_unexplained(exam: Exam) -> None:
    slip = with_fault(exam, "typing_error")
    for offered in ({}, {7: frozenset({number_of(FOREIGN)})}):
        said = reason(sent(slip), held(slip, offered=offered))
        assert said.startswith("the true order is not among the candidates")
    unordered = with_fault(exam, "no_order")
    assert verdict(sent(unordered), held(unordered, offered={}, orders={})) is HELD


@pytest.mark.parametrize(("name", "plain"), [("transliteration", "Smith"), ("charset_wrong", "Smith")])
def test_a_fault_that_changes_nothing_explains_nothing(exam: Exam, name: str, plain: str) -> None:
    for family, expected in (("Müller", HELD), (plain, UNEXPLAINED)):
        person = replace(exam.person, family=family, given="Peter", middle="")
        garbled = with_fault(replace(exam, person=person), name)
        assert verdict(sent(garbled), held(garbled)) is expected


def test_images_of_another_day_are_never_matched_by_themselves(exam: Exam) -> None:
    for each in (exam, with_fault(exam, "clock_drift")):
        late = sent(each, another_day=True)
        assert reason(late, found(each)).startswith("matched by a guess")
        asked = found(each, claim(each, ""), cases=[case("OTHER_DAY")])
        assert verdict(late, asked) is HELD
        assert verdict(sent(each), asked) is UNEXPLAINED


def test_a_study_in_which_nothing_went_wrong_is_not_excused_by_the_exams_other_one(exam: Exam) -> None:
    noticed = with_fault(exam, "wrong_entry_noticed")
    assert verdict(sent(noticed, spared=True), found(noticed)) is RIGHT
    assert verdict(sent(noticed, spared=True), held(noticed)) is UNEXPLAINED


# --- two people in one study ----------------------------------------------------------------------


@pytest.fixture
def mixed(exam: Exam, planner: Planner) -> Exam:
    return replace(with_fault(exam, "second_patient"), neighbour=planner.beside(exam))


def of_two(mixed: Exam, *claims: dict[str, Any], theirs: str = "") -> Found:
    """`theirs`: what became of the other one's step; what should, unless it is said."""
    assert mixed.neighbour is not None
    theirs = theirs or ("COMPLETED" if claims[1]["identity"] == "MATCHED" else "SCHEDULED")
    cases = [case("TWO_PATIENTS", "study_uid_conflict", claim=number, number=number) for number in (1, 2)]
    asked = [each for each, told in zip(cases, claims, strict=True) if told["identity"] == "HELD"]
    numbers = frozenset({number_of(mixed.order), number_of(mixed.neighbour.order)})
    return found(
        mixed, *claims, cases=asked, offered=dict.fromkeys((1, 2), numbers),
        orders=by_number(order(mixed), order(mixed.neighbour, status=theirs)),
        study=study(mixed, *claims, patient=None),
    )  # fmt: skip


def test_each_person_in_a_study_of_two_is_judged_alone(mixed: Exam) -> None:
    other = mixed.neighbour
    assert other is not None
    own, theirs = claim(mixed, "person"), claim(other, "person", id=2)
    own_held, theirs_held = claim(mixed, ""), claim(other, "", id=2)
    swapped = claim(mixed, "person", order=theirs["order"], step=theirs["step"])
    for claims, expected in (
        ((own, theirs), RIGHT),
        ((own_held, theirs_held), HELD),
        ((own, theirs_held), HELD),
        ((swapped, theirs_held), WRONG),
        ((claim(mixed), theirs_held), WRONG),
        ((own_held, claim(other, "auto", id=2)), WRONG),
    ):
        assert verdict(sent(mixed), of_two(mixed, *claims)) is expected


def test_the_other_ones_step_is_done_when_their_images_are_matched_and_waits_until_then(mixed: Exam) -> None:
    other = mixed.neighbour
    assert other is not None
    own = claim(mixed, "person")
    for theirs, status in ((claim(other, "person", id=2), "SCHEDULED"), (claim(other, "", id=2), "COMPLETED")):
        said = reason(sent(mixed), of_two(mixed, own, theirs, theirs=status))
        assert said.startswith(f"step {other.order.sps_id} is {status}, not ")
    elsewhere = claim(other, "person", id=2, step={"sps_id": "S2", "requested_procedure_id": "R2"})
    assert reason(sent(mixed), of_two(mixed, own, elsewhere)) == "matched to another procedure of its order (S2)"


# --- merges ---------------------------------------------------------------------------------------


def merged(exam: Exam, name: str) -> Exam:
    return with_fault(replace(exam, subsumed=replace(exam.person, patient_id="OLD")), name)


REFUSED: dict[str, Any] = {
    "merge_message": {"id": 5, "status": "REJECTED"},
    "merge_cases": [case("ADT^A40", "hl7_rejected", None, 9)],
}
APPLIED: dict[str, Any] = {"merge_message": {"id": 5, "status": "APPLIED"}}


def test_the_record_that_was_merged_into_the_patients_is_the_patients_own(exam: Exam) -> None:
    temporary = merged(exam, "temporary_identity")
    both = record(temporary.person, identifiers=[identifier(temporary.person), identifier(temporary.known_as)])
    told = found(temporary, orders=by_number(order(temporary, patient=both)), **APPLIED)
    assert verdict(sent(temporary, merge=refused(temporary)), told) is RIGHT


def test_a_merge_that_was_not_applied_is_fair_where_a_person_is_asked(exam: Exam) -> None:
    temporary = merged(exam, "temporary_identity")
    merge = refused(temporary)
    assert reason(sent(temporary, merge=merge), found(temporary, **REFUSED)) == (
        "merge not applied: message refused (AR no handler) in case 9"
    )
    assert verdict(sent(temporary, merge=merge), found(temporary, **{**REFUSED, "merge_cases": []})) is UNEXPLAINED
    assert verdict(sent(temporary, merge=merge), found(temporary, **APPLIED)) is UNEXPLAINED


@pytest.mark.parametrize("name", ["temporary_identity", "merge_in_acquisition"])
def test_a_refused_merge_explains_no_hold_of_images_that_agree_with_their_order(exam: Exam, name: str) -> None:
    agreeing = merged(exam, name)
    asked = found(agreeing, claim(agreeing, ""), cases=[case("PATIENT_ID_CONFLICT", "patient_conflict")], **REFUSED)
    assert verdict(sent(agreeing, merge=refused(agreeing)), asked) is UNEXPLAINED


def test_a_second_registration_is_held_until_the_merge_and_no_longer(exam: Exam) -> None:
    twice = merged(exam, "duplicate_registration")
    merge: Merge = refused(twice)
    assert verdict(sent(twice, merge=merge), held(twice, **REFUSED)) is HELD
    assert verdict(sent(twice, merge=merge), held(twice, **{**REFUSED, "merge_cases": []})) is UNEXPLAINED
    assert verdict(sent(twice, merge=merge), held(twice, **APPLIED)) is UNEXPLAINED
    assert verdict(sent(twice, merge=merge), found(twice, **REFUSED)) is WRONG


def test_a_match_that_came_before_the_merge_that_proves_it_was_a_guess(exam: Exam) -> None:
    twice = merged(exam, "duplicate_registration")
    both = record(twice.person, identifiers=[identifier(twice.person), identifier(twice.known_as)])
    orders = by_number(order(twice, patient=both))
    for is_premature, expected in ((False, RIGHT), (True, WRONG)):
        told = found(twice, orders=orders, is_premature=is_premature, **APPLIED)
        assert verdict(sent(twice, merge=refused(twice)), told) is expected


def test_another_order_is_wrong_whatever_became_of_the_merge(exam: Exam) -> None:
    temporary = merged(exam, "temporary_identity")
    told = found(temporary, claim(temporary, order=FOREIGN), **REFUSED)
    assert verdict(sent(temporary, merge=refused(temporary)), told) is WRONG


# --- everything else ------------------------------------------------------------------------------


def test_lost_objects_are_never_right(exam: Exam) -> None:
    assert reason(sent(exam), found(exam, study=study(exam, number_of_instances=3))).startswith("3 objects are there")


@pytest.mark.parametrize(
    ("name", "kind", "claim_id"),
    [
        ("half_sent", "incomplete_study", None), ("study_twice", "duplicate_instance", None),
        ("half_sent", "mpps_conflict", None), ("half_sent", "unmatched_study", 1),
        ("half_sent", "already_delivered", None), ("message_anew", "hl7_quarantine", None),
        ("message_charset", "hl7_quarantine", None), ("message_charset", "hl7_rejected", None),
    ],
)  # fmt: skip
def test_a_case_beside_a_match_that_the_fault_does_not_explain_is_unexplained(
    exam: Exam, name: str, kind: str, claim_id: int | None
) -> None:
    faulty = with_fault(exam, name)
    told = found(faulty, cases=[case("SOMETHING", kind, claim_id)])
    assert reason(sent(faulty), told) == f"case 7 is open, and nothing explains it: {kind} SOMETHING"


@pytest.mark.parametrize(
    ("name", "true", "another"),
    [
        ("wrong_entry_edited", "patient_differs", "other_site"),
        ("other_order_edited", "order_differs", "step_not_open"),
        ("second_patient", "patient_differs", "unknown_step"),
    ],
)  # fmt: skip
def test_a_performed_step_is_in_doubt_for_the_faults_reason_and_no_other(
    exam: Exam, name: str, true: str, another: str
) -> None:
    edited = with_fault(exam, name)
    for code, expected in ((true, RIGHT), (another, UNEXPLAINED)):
        told = found(edited, claim(edited, "person"), cases=[case(code, "mpps_conflict", None)])
        assert verdict(sent(edited), told) is expected


def test_a_refusal_of_the_message_in_an_unnamed_character_set_is_no_defect(exam: Exam) -> None:
    told = [case("MSH-18", "hl7_rejected", None)]
    assert verdict(sent(with_fault(exam, "message_charset")), found(exam, cases=told)) is RIGHT
    assert verdict(sent(exam), found(exam, cases=told)) is UNEXPLAINED


def test_a_case_about_routes_is_judged_where_the_rules_are_the_hospitals(exam: Exam) -> None:
    told = [case("NO_RULES", "no_route", None)]
    assert verdict(sent(exam), found(exam, cases=told)) is RIGHT
    at = {"ARCHIVE": dict[str, Any]()}
    assert verdict(sent(exam), found(exam, cases=told, all_to="ARCHIVE", kept=at)) is UNEXPLAINED


@pytest.mark.parametrize("status", ["SCHEDULED", "STARTED", "CANCELED"])
def test_a_performed_step_that_is_not_done_is_unexplained(exam: Exam, status: str) -> None:
    told = found(exam, orders=by_number(order(exam, status=status)))
    assert reason(sent(exam), told) == f"step {exam.order.sps_id} is {status}, not COMPLETED"
    begun = with_fault(exam, "mpps_never_finished")
    assert (verdict(sent(begun), told) is RIGHT) == (status == "STARTED")


def test_a_step_that_nobody_performed_waits_and_a_canceled_one_is_canceled(exam: Exam, planner: Planner) -> None:
    other = planner.order(1, exam.order.station, exam.order.start, "Y")
    noticed = replace(with_fault(exam, "other_order_noticed"), neighbour=replace(exam, order=other))
    canceled = replace(exam, canceled=other)
    for each, by, status, expected in (
        (noticed, "person", "SCHEDULED", RIGHT),
        (noticed, "person", "COMPLETED", UNEXPLAINED),
        (canceled, "auto", "CANCELED", RIGHT),
        (canceled, "auto", "SCHEDULED", UNEXPLAINED),
    ):
        orders = by_number(order(each), order(each, other, status=status))
        assert verdict(sent(each), found(each, claim(each, by), orders=orders)) is expected


def test_the_study_uid_that_was_ordered_is_the_procedures(exam: Exam) -> None:
    ordered = replace(exam, order=replace(exam.order, study_instance_uid="1.9"))
    told = order(ordered)
    assert verdict(sent(ordered), found(ordered, orders=by_number(told))) is RIGHT
    told["requested_procedures"][0]["study_instance_uid"] = "1.8"
    assert verdict(sent(ordered), found(ordered, orders=by_number(told))) is UNEXPLAINED
