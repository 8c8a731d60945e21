"""Match or hold, claim by claim; a late order; and what a person has in hand is left alone."""

import pytest

from orchestrator.models import ExceptionCase, Patient, Study, WorkflowEvent
from orchestrator.services.exceptions import claim_case
from orchestrator.services.workflow import transition
from orchestrator.states import CaseStatus, Identity, MatchedBy, Purpose, StepStatus
from reconciliation.models import MatchRun
from reconciliation.services.decisions import match, undo
from reconciliation.services.reconcile import reconcile_study, rematch_for_order
from tests.factories import (
    claimed,
    make_ae,
    make_claim,
    make_order,
    make_patient,
    make_site,
    make_study,
    make_user,
    step_of,
)

pytestmark = pytest.mark.django_db


def reconciled(study: Study) -> Study:
    reconcile_study(study.pk)
    study.refresh_from_db()
    return study


def test_what_agrees_is_matched_by_itself_with_its_evidence() -> None:
    order = make_order()
    study = reconciled(make_study(order))
    claim = study.claims.get()
    assert (study.identity, study.patient) == (Identity.MATCHED, order.patient)
    assert (claim.matched_by, claim.order, claim.step) == (MatchedBy.AUTO, order, step_of(order))
    verdicts = {row["field"]: row["verdict"] for row in claim.evidence}
    assert (verdicts["patient_id"], verdicts["accession_number"]) == ("agree", "agree")
    assert MatchRun.objects.get().reason_code == "MATCHED"
    assert not ExceptionCase.objects.exists()


def test_images_say_that_a_step_was_performed_when_no_mpps_did() -> None:
    order = make_order()
    reconciled(make_study(order))
    assert step_of(order).status == StepStatus.COMPLETED


def test_reconciling_twice_changes_nothing() -> None:
    study = reconciled(make_study(make_order()))
    events = WorkflowEvent.objects.filter(name="claim.matched").count()
    reconciled(study)
    assert WorkflowEvent.objects.filter(name="claim.matched").count() == events


def test_what_does_not_agree_is_held_with_a_case_that_says_why() -> None:
    order = make_order(accession_number="A1")
    study = reconciled(make_study(order, birth_date="19700301"))
    case = ExceptionCase.objects.get()
    assert study.identity == Identity.HELD
    assert (case.kind, case.reason_code) == ("patient_conflict", "BIRTH_DATE_DIFFERS")
    assert (case.best_candidate, case.study, case.claim) == ("A1", study, study.claims.get())
    reconciled(study)
    assert ExceptionCase.objects.count() == 1


def test_two_orders_of_one_accession_are_for_a_person() -> None:
    patient = make_patient()
    one = make_order(patient=patient, accession_number="A1")
    make_order(patient=patient, accession_number="A1")
    study = make_study(one, uid="2.25.77", requested_procedure_id="", sps_id="")
    assert reconciled(study).identity == Identity.HELD
    assert ExceptionCase.objects.get().kind == "ambiguous_match"


def test_an_id_without_issuer_proves_nothing_where_nobody_is_the_default() -> None:
    site = make_site("BARE", issuer="")
    make_ae(site=site)
    study = make_study(make_order(site=site), site=site)
    assert reconciled(study).identity == Identity.HELD
    make_site("BARE", issuer="MAIN")
    assert reconciled(study).identity == Identity.MATCHED


def test_nor_where_nobody_said_to_which_of_several_sites_the_modality_belongs() -> None:
    make_site("SECOND")
    study = make_study(make_order())
    assert reconciled(study).identity == Identity.HELD
    make_ae()
    assert reconciled(study).identity == Identity.MATCHED


def test_an_id_without_issuer_is_its_own_modalitys_whoever_else_has_sent_something_of_the_study() -> None:
    make_site("SECOND", issuer="SECOND")
    make_ae(site=make_site())
    study = make_study(make_order(), site=make_site("SECOND", issuer="SECOND"))
    assert reconciled(study).identity == Identity.MATCHED


def test_each_claim_of_a_study_stands_for_itself_and_the_worst_counts() -> None:
    order = make_order()
    study = make_study(order)
    make_claim(study, **{**claimed(order), "patient_id": "999", "patient_name": "Roe^Max"})
    assert reconciled(study).identity == Identity.HELD
    assert sorted(study.claims.values_list("identity", flat=True)) == ["HELD", "MATCHED"]


def test_two_patients_under_one_study_uid_are_never_believed() -> None:
    one, other = make_order(), make_order(patient=make_patient(name="Roe^Max"))
    study = make_study(one)
    make_claim(study, **claimed(other))
    assert reconciled(study).identity == Identity.HELD
    assert set(ExceptionCase.objects.values_list("kind", flat=True)) == {"study_uid_conflict"}
    assert not study.claims.filter(identity=Identity.MATCHED).exists()
    # A person's word on one of them is believed, and the other is still theirs to decide.
    case = ExceptionCase.objects.get(claim=study.claims.earliest("pk"))
    match(case_id=case.pk, order_id=one.pk, user=make_user(), reason="Asked the technologist")
    assert reconciled(study).identity == Identity.HELD
    assert sorted(study.claims.values_list("identity", flat=True)) == ["HELD", "MATCHED"]


@pytest.mark.parametrize("purpose", [Purpose.PRIOR, Purpose.DERIVED, Purpose.RETURNED])
def test_what_needs_no_order_is_not_compared(purpose: Purpose) -> None:
    study = make_study(make_order(), purpose=purpose)
    reconciled(study)
    assert study.claims.get().identity == Identity.PENDING
    assert not ExceptionCase.objects.exists()


def images_of(patient: Patient) -> Study:
    """Images that came before their order, with accession number A1."""
    return make_study(
        patient_id=patient.identifiers.get().value, patient_name=patient.name, birth_date="19700228", sex="F",
        accession_number="A1", modality="CT", calling_ae_title="CT_NORTH", study_date="20260705",
    )  # fmt: skip


def test_an_order_that_comes_after_its_images_matches_them_by_itself() -> None:
    patient = make_patient()
    study = reconciled(images_of(patient))
    assert study.identity == Identity.HELD
    rematch_for_order(make_order(patient=patient, accession_number="A1").pk)
    study.refresh_from_db()
    assert (study.identity, ExceptionCase.objects.get().status) == (Identity.MATCHED, CaseStatus.RESOLVED)


def test_a_case_that_a_person_has_in_hand_is_not_settled_by_a_late_order_but_told_of_it() -> None:
    patient = make_patient()
    study = reconciled(images_of(patient))
    claim_case(ExceptionCase.objects.get().pk, user=make_user())
    order = make_order(patient=patient, accession_number="A1")
    rematch_for_order(order.pk)
    study.refresh_from_db()
    assert (study.identity, ExceptionCase.objects.get().status) == (Identity.HELD, CaseStatus.CLAIMED)
    assert WorkflowEvent.objects.filter(name="case.candidates_changed").exists()
    assert MatchRun.objects.latest("pk").candidates[0]["order"] == order.pk


def test_a_canceled_order_is_no_match() -> None:
    order = make_order()
    transition(step_of(order), "step.canceled")
    assert reconciled(make_study(order)).identity == Identity.HELD
    assert ExceptionCase.objects.get().reason_code == "STEP_ALREADY_SATISFIED"


def test_an_order_that_has_its_images_does_not_take_another_study() -> None:
    order = make_order()
    reconciled(make_study(order))
    assert reconciled(make_study(order, uid="2.25.88")).identity == Identity.HELD


def test_a_remembered_decision_holds_for_later_images_that_say_the_same() -> None:
    order = make_order()
    study = reconciled(make_study(order, patient_id="typed", uid="2.25.99"))
    match(case_id=ExceptionCase.objects.get().pk, order_id=order.pk, user=make_user(), reason="Asked the ward")
    first = study.claims.get()
    same = {name: getattr(first, name) for name in claimed(order)}
    late = make_claim(study, **{**same, "calling_ae_title": "CT_WORKSTATION"})
    other = make_claim(study, **{**same, "patient_id": "typed otherwise"})
    reconciled(study)
    late.refresh_from_db()
    other.refresh_from_db()
    assert (late.identity, late.matched_by, late.order) == (Identity.MATCHED, MatchedBy.PERSON, order)
    assert other.identity == Identity.HELD


def test_a_decision_that_was_taken_back_is_no_longer_remembered() -> None:
    order = make_order()
    study = reconciled(make_study(order, patient_id="typed", uid="2.25.99"))
    case, user = ExceptionCase.objects.get(), make_user()
    match(case_id=case.pk, order_id=order.pk, user=user, reason="Asked the ward")
    undo(case_id=case.pk, user=user, reason="The ward was wrong")
    assert reconciled(study).identity == Identity.HELD


def test_what_a_person_matches_to_one_patient_holds_what_was_matched_to_another_by_itself() -> None:
    order, chosen = make_order(), make_order()
    study = make_study(order)
    theirs, automatic = make_claim(study, patient_id="typed", patient_name="Roe^Jane"), study.claims.earliest("pk")
    reconcile_study(study.pk)
    automatic.refresh_from_db()
    assert automatic.identity == Identity.MATCHED
    case = ExceptionCase.objects.get(claim=theirs)
    match(case_id=case.pk, order_id=chosen.pk, user=make_user(), reason="The name band says so")
    for claim in (automatic, theirs, study):
        claim.refresh_from_db()
    assert (theirs.identity, automatic.identity, study.identity) == (Identity.MATCHED, Identity.HELD, Identity.HELD)
    assert ExceptionCase.objects.get(claim=automatic).reason_code == "TWO_PATIENTS"
