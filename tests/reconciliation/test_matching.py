"""Whose images are these? What it takes to match by itself, and all that forbids it (promise 7)."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciliation.matching import SENTENCES, Candidate, Claim, Identifier, Outcome, Verdict, match, score, stands

CLAIM = Claim(
    identifier=Identifier("1", "0012345"), patient_name="Doe^Jane", birth_date="19700228", sex="F",
    accession_number="A1", study_instance_uid="2.25.1", requested_procedure_id="RP1", sps_id="S1", modality="CT",
    station="CT_NORTH", study_date="20260705",
)  # fmt: skip
CANDIDATE = Candidate(
    key=1, identifiers=frozenset({Identifier("1", "0012345")}), patient_name="Doe^Jane", birth_date="19700228",
    sex="F", accession_number="A1", study_instance_uid="2.25.1", requested_procedure_id="RP1", sps_id="S1",
    modality="CT", stations=("CT_NORTH",), start_date="20260705",
)  # fmt: skip


# How long an example takes says something about the machine only.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def outcome(claim: Claim = CLAIM, *candidates: Candidate) -> Outcome:
    return match(claim, candidates or (CANDIDATE,))


def test_everything_agrees_and_it_matches() -> None:
    found = outcome()
    assert found.match is not None
    assert (found.reason_code, found.match.score, found.match.candidate) == ("MATCHED", 100, CANDIDATE)


@pytest.mark.parametrize(
    "left",
    [
        {"accession_number": "", "requested_procedure_id": "", "sps_id": ""},
        {"study_instance_uid": "2.25.9", "requested_procedure_id": "", "sps_id": ""},
        {"study_instance_uid": "2.25.9", "accession_number": ""},
    ],
    ids=["the study UID", "the accession number", "the scheduled step"],
)
def test_one_of_these_names_the_order(left: dict[str, Any]) -> None:
    assert outcome(replace(CLAIM, **left)).match is not None


def test_nothing_that_names_an_order_is_held() -> None:
    bare = replace(CLAIM, study_instance_uid="2.25.9", accession_number="", requested_procedure_id="", sps_id="")
    assert (outcome(bare).match, outcome(bare).reason_code) == (None, "NO_ORDER_FACTOR")


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"identifier": Identifier("1", "")}, "NO_PATIENT_ID"),
        ({"identifier": Identifier("", "0012345")}, "NO_PATIENT_ID"),
        ({"patient_name": ""}, "TOO_LITTLE"),
        ({"birth_date": ""}, "TOO_LITTLE"),
        ({"patient_name": "", "birth_date": ""}, "TOO_LITTLE"),
    ],
    ids=["no id", "an id of no issuer", "no name", "no birth date", "neither name nor birth date"],
)
def test_two_patient_factors_are_needed_and_missing_is_not_agreement(what: dict[str, Any], reason: str) -> None:
    found = outcome(replace(CLAIM, **what))
    assert (found.match, found.reason_code) == (None, reason)


CONFLICTS: list[tuple[dict[str, Any], str]] = [
    ({"identifier": Identifier("1", "999")}, "PATIENT_ID_CONFLICT"),
    ({"identifier": Identifier("2", "0012345")}, "PATIENT_ID_CONFLICT"),
    ({"identifier": Identifier("1", "12345")}, "PATIENT_ID_CONFLICT"),
    ({"patient_name": "Roe^Max"}, "NAME_DIFFERS"),
    ({"patient_name": "Do^Jane"}, "NAME_DIFFERS"),
    ({"birth_date": "19700328"}, "BIRTH_DATE_DIFFERS"),
    ({"sex": "M"}, "SEX_DIFFERS"),
    ({"accession_number": "A2"}, "ACCESSION_DIFFERS"),
    ({"modality": "MR"}, "OTHER_MODALITY"),
    ({"station": "CT_SOUTH"}, "OTHER_STATION"),
    ({"study_date": "20260706"}, "OTHER_DAY"),
]


@pytest.mark.parametrize("number", [Identifier("1", "777"), Identifier("2", "0012345")], ids=["another", "of another"])
def test_a_strangers_order_of_the_same_day_and_station_conflicts_with_nothing(number: Identifier) -> None:
    stranger = replace(
        CLAIM, identifier=number, patient_name="Zhou^Li", birth_date="19550505", accession_number="",
        study_instance_uid="", requested_procedure_id="", sps_id="",
    )  # fmt: skip
    found = outcome(stranger)
    assert (found.match, found.reason_code) == (None, "NO_ORDER")
    assert found.ranked[0].score >= 20


UNNAMED: dict[str, Any] = {"accession_number": "", "study_instance_uid": "", "requested_procedure_id": "", "sps_id": ""}


def test_a_like_number_and_the_birth_date_speak_for_a_patient_whom_nothing_names() -> None:
    found = outcome(replace(CLAIM, **UNNAMED, patient_name="", identifier=Identifier("1", "12345")))
    assert (found.match, found.reason_code) == (None, "PATIENT_ID_CONFLICT")


def test_the_reason_is_of_who_may_be_meant_also_behind_a_stranger_with_the_same_birthday() -> None:
    namesake = replace(
        CANDIDATE, key=1, identifiers=frozenset({Identifier("1", "777")}), birth_date="19551212", sex="M",
        modality="MR", stations=("CT_SOUTH",), start_date="20260101",
    )  # fmt: skip
    stranger = replace(CANDIDATE, key=2, identifiers=frozenset({Identifier("1", "888")}), patient_name="Zhou^Li")
    found = outcome(replace(CLAIM, **UNNAMED), namesake, stranger)
    assert found.ranked[0].candidate == stranger
    assert (found.match, found.reason_code) == (None, "PATIENT_ID_CONFLICT")


@pytest.mark.parametrize(("what", "reason"), CONFLICTS)
def test_one_conflict_forbids_the_match_whatever_else_agrees(what: dict[str, Any], reason: str) -> None:
    found = outcome(replace(CLAIM, **what))
    assert (found.match, found.reason_code) == (None, reason)


def test_a_step_that_has_its_images_is_not_matched_again() -> None:
    found = outcome(CLAIM, replace(CANDIDATE, satisfied=True))
    assert (found.match, found.reason_code) == (None, "STEP_ALREADY_SATISFIED")


def test_of_two_steps_of_one_procedure_the_one_that_the_images_name_is_matched() -> None:
    first, second = (replace(CANDIDATE, key=key, sps_id=f"S{key}", procedure=7) for key in (1, 2))
    found = outcome(replace(CLAIM, sps_id="S2"), first, second)
    assert found.match is not None
    assert found.match.candidate == second


def test_of_two_steps_of_one_procedure_that_the_images_do_not_name_it_does_not_matter_which() -> None:
    first, second = (replace(CANDIDATE, key=key, sps_id=f"S{key}", procedure=7) for key in (1, 2))
    found = outcome(replace(CLAIM, sps_id="", requested_procedure_id=""), first, second)
    assert found.match is not None
    elsewhere = replace(second, procedure=8)
    assert outcome(replace(CLAIM, sps_id=""), first, elsewhere).reason_code == "TWO_ORDERS_FIT"


def test_of_two_orders_that_fit_a_person_chooses() -> None:
    claim = replace(CLAIM, study_instance_uid="2.25.9", requested_procedure_id="", sps_id="")
    found = outcome(claim, CANDIDATE, replace(CANDIDATE, key=2, study_instance_uid="2.25.2", sps_id="S2"))
    assert (found.match, found.reason_code) == (None, "TWO_ORDERS_FIT")


def test_of_two_procedures_of_one_order_the_study_uid_says_which() -> None:
    other = replace(CANDIDATE, key=2, study_instance_uid="2.25.2", requested_procedure_id="RP2", sps_id="S2")
    found = outcome(CLAIM, other, CANDIDATE)
    assert found.match is not None
    assert found.match.candidate == CANDIDATE


@pytest.mark.parametrize(
    "owner", [{}, {"identifiers": frozenset({Identifier("1", "777")}), "patient_name": "Roe^Max"}],
    ids=["of the same patient", "of another patient"],
)  # fmt: skip
def test_a_study_uid_that_was_given_to_another_order_forbids_the_match(owner: dict[str, Any]) -> None:
    """Somebody picked another worklist entry and typed the rest."""
    theirs = replace(CANDIDATE, key=2, accession_number="A2", study_instance_uid="2.25.2", sps_id="S2", **owner)
    found = outcome(
        replace(CLAIM, study_instance_uid="2.25.2", requested_procedure_id="", sps_id=""), CANDIDATE, theirs
    )
    assert found.match is None
    assert found.speaks_for is not None
    assert found.speaks_for.candidate == CANDIDATE


def test_two_people_of_one_name_are_told_apart_by_their_id() -> None:
    namesake = replace(CANDIDATE, key=2, identifiers=frozenset({Identifier("1", "777")}), accession_number="A2",
                       study_instance_uid="2.25.2", sps_id="S2")  # fmt: skip
    found = outcome(CLAIM, namesake, CANDIDATE)
    assert found.match is not None
    assert found.match.candidate == CANDIDATE


@pytest.mark.parametrize(
    ("received", "expected", "verdict"),
    [
        ("DOE^JANE", "Doe^Jane", Verdict.AGREE),
        ("Jane^Doe", "Doe^Jane", Verdict.AGREE),
        ("Doe^Jane^^^", "Doe^Jane", Verdict.AGREE),
        ("Müller^Jörg", "Muller^Jorg", Verdict.AGREE),
        ("Doe^Jane^Maria", "Doe^Jane", Verdict.CLOSE),
        ("Do^Jane", "Doe^Jane", Verdict.CLOSE),
        ("Roe^Max", "Doe^Jane", Verdict.DIFFER),
        ("", "Doe^Jane", Verdict.MISSING),
        ("Kim", "Kim^Kim", Verdict.CLOSE),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada^Tarou", Verdict.AGREE),
    ],
)
def test_names_are_compared_as_people_compare_them(received: str, expected: str, verdict: Verdict) -> None:
    scored = score(replace(CLAIM, patient_name=received), replace(CANDIDATE, patient_name=expected))
    assert {each.field: each.verdict for each in scored.evidence}["patient_name"] == verdict


def test_lost_leading_zeros_are_a_hint_for_a_person_and_never_a_match() -> None:
    scored = score(replace(CLAIM, identifier=Identifier("1", "12345")), CANDIDATE)
    assert {each.field: each.verdict for each in scored.evidence}["patient_id"] == Verdict.CLOSE
    assert not scored.qualifies


words = st.sampled_from(["", "Doe^Jane", "Doe^John", "Roe^Max"])
days = st.sampled_from(["", "20260705", "20260706"])
births = st.sampled_from(["", "19700228", "19700328"])
ids = st.builds(Identifier, st.sampled_from(["", "1", "2"]), st.sampled_from(["", "0012345", "12345", "99"]))
same = {
    "patient_name": words, "birth_date": births, "sex": st.sampled_from(["", "F", "M"]),
    "accession_number": st.sampled_from(["", "A1", "A2"]), "study_instance_uid": st.sampled_from(["2.25.1", "2.25.2"]),
    "requested_procedure_id": st.sampled_from(["", "RP1"]), "sps_id": st.sampled_from(["", "S1", "S2"]),
    "modality": st.sampled_from(["", "CT", "MR"]),
}  # fmt: skip


def varied(start: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Like `start`, but for some fields: near enough that matches happen."""
    return st.fixed_dictionaries({}, optional=fields).map(lambda changes: replace(start, **changes))


claims = varied(CLAIM, identifier=ids, station=st.sampled_from(["", "CT_NORTH", "Y"]), study_date=days, **same)
orders = st.tuples(
    st.integers(1, 9),
    varied(
        CANDIDATE, identifiers=st.frozensets(ids, max_size=2), satisfied=st.booleans(), start_date=days,
        stations=st.lists(st.sampled_from(["CT_NORTH", "Y"]), max_size=2).map(tuple), **same,
    ),
).map(lambda pair: replace(pair[1], key=pair[0]))  # fmt: skip
several = st.lists(orders, max_size=5, unique_by=lambda each: each.key)


@patient
@given(claims, several)
def test_whatever_is_matched_has_an_order_factor_two_patient_factors_and_no_conflict(
    claim: Claim, candidates: list[Candidate]
) -> None:
    found = match(claim, candidates)
    if found.match is None:
        assert found.reason_code in SENTENCES
        return
    one = found.match.candidate
    assert claim.identifier.issuer
    assert claim.identifier.value
    assert claim.identifier in one.identifiers
    assert claim.birth_date == one.birth_date != ""
    assert claim.patient_name
    assert one.patient_name
    assert not one.satisfied
    assert (
        claim.study_instance_uid == one.study_instance_uid
        or claim.accession_number == one.accession_number != ""
        or (claim.sps_id, claim.requested_procedure_id) == (one.sps_id, one.requested_procedure_id)
    )
    for said, ordered in [
        (claim.sex, one.sex), (claim.accession_number, one.accession_number), (claim.modality, one.modality),
        (claim.study_date, one.start_date),
    ]:  # fmt: skip
        assert not said or not ordered or said == ordered
    assert not claim.station or not one.stations or claim.station in one.stations


@patient
@given(claims, several)
def test_the_answer_does_not_depend_on_the_order_of_the_candidates(claim: Claim, candidates: list[Candidate]) -> None:
    assert match(claim, candidates) == match(claim, candidates[::-1])


@patient
@given(claims, several)
def test_scores_stand_between_nothing_and_everything_and_every_field_has_its_verdict(
    claim: Claim, candidates: list[Candidate]
) -> None:
    found = match(claim, candidates)
    assert [each.score for each in found.ranked] == sorted((each.score for each in found.ranked), reverse=True)
    for each in found.ranked:
        assert 0 <= each.score <= 100
        assert len({row.field for row in each.evidence}) == len(each.evidence) == 11
    assert found.reason_code == "MATCHED" or found.reason_code in SENTENCES


@patient
@given(claims, several)
def test_a_claim_that_says_less_is_never_matched_where_one_that_says_more_is_not(
    claim: Claim, candidates: list[Candidate]
) -> None:
    """Missing is never agreement: taking an answer away makes no factor."""
    for one in candidates:
        for field in ("patient_name", "birth_date", "accession_number", "sps_id"):
            nothing: dict[str, Any] = {field: ""}
            less = score(replace(claim, **nothing), one)
            verdicts = {each.field: each.verdict for each in less.evidence}
            assert verdicts["step" if field == "sps_id" else field] == Verdict.MISSING
            if field in ("patient_name", "birth_date"):
                assert not less.qualifies
        assert not score(replace(claim, identifier=replace(claim.identifier, issuer="")), one).qualifies
        assert not score(replace(claim, identifier=replace(claim.identifier, value="")), one).qualifies


@patient
@given(claims, orders, st.sampled_from(CONFLICTS))
def test_a_conflict_more_never_makes_a_match(
    claim: Claim, one: Candidate, conflict: tuple[dict[str, Any], str]
) -> None:
    [(field, value)] = conflict[0].items()
    candidate_field = {
        "identifier": "identifiers", "station": "stations", "study_date": "start_date",
    }.get(field, field)  # fmt: skip
    against = {"identifier": frozenset({Identifier("1", "other")}), "station": ("other",)}.get(field, "other")
    said: dict[str, Any] = {field: value}
    ordered: dict[str, Any] = {candidate_field: against}
    contradicted = score(replace(claim, **said), replace(one, **ordered))
    assert not contradicted.qualifies


names = st.text(st.sampled_from("aäßAB ^=-'山1"), max_size=12)


@patient
@given(names, names)
def test_names_agree_both_ways_or_neither(one: str, other: str) -> None:
    def verdict(received: str, expected: str) -> Verdict:
        scored = score(replace(CLAIM, patient_name=received), replace(CANDIDATE, patient_name=expected))
        return {each.field: each.verdict for each in scored.evidence}["patient_name"]

    assert verdict(one, other) == verdict(other, one)
    assert verdict(one, one) in (Verdict.AGREE, Verdict.MISSING)


@patient
@given(claims, orders)
def test_what_is_matched_stands_until_its_order_changes(claim: Claim, one: Candidate) -> None:
    scored = score(claim, one)
    assert stands(scored) or not scored.qualifies
    assert not stands(score(replace(claim, accession_number="A1"), replace(one, accession_number="A9")))
