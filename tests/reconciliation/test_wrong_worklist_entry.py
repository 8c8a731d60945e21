"""The technologist picks another patient's worklist entry, notices, and says so by MPPS (110514)."""

import pytest

from orchestrator.models import ExceptionCase, Study, WorkflowEvent
from orchestrator.services.studies import disown
from orchestrator.states import Identity, MatchedBy
from reconciliation.services.decisions import match
from reconciliation.services.reconcile import hold_disowned, reconcile_study, rematch_for_order
from tests.factories import make_order, make_study, make_user

pytestmark = pytest.mark.django_db


def disowned(study: Study) -> Study:
    """The MPPS says so; the subscriber is called as its worker would."""
    disown(study_instance_uid=study.study_instance_uid, mpps_uid=f"{study.study_instance_uid}.1")
    if WorkflowEvent.objects.filter(name="study.disowned", subject_id=study.pk).exists():
        hold_disowned(study.pk)
    study.refresh_from_db()
    return study


def test_what_was_matched_by_itself_is_held_again() -> None:
    study = make_study(make_order(), sex="")
    reconcile_study(study.pk)
    assert study.claims.get().identity == Identity.MATCHED
    disowned(study)
    claim = study.claims.get()
    assert (study.identity, claim.identity) == (Identity.HELD, Identity.HELD)
    assert (claim.order, claim.matched_patient, claim.matched_by, claim.evidence) == (None, None, "", [])
    assert not claim.corrections.exists()
    case = ExceptionCase.objects.get()
    assert (case.kind, case.reason_code) == ("wrong_worklist_entry", "WRONG_WORKLIST_ENTRY")
    assert WorkflowEvent.objects.filter(name="claim.unmatched", subject_id=claim.pk).exists()


def test_images_that_come_after_the_word_are_held_too() -> None:
    order = make_order()
    study = make_study(order)
    disown(study_instance_uid=study.study_instance_uid, mpps_uid="1.2.3")
    reconcile_study(study.pk)
    study.refresh_from_db()
    assert study.identity == Identity.HELD
    rematch_for_order(order.pk)
    study.refresh_from_db()
    assert study.identity == Identity.HELD, "an order that changes makes nothing right"


def test_saying_it_twice_holds_once() -> None:
    study = make_study(make_order())
    reconcile_study(study.pk)
    disowned(study)
    disowned(study)
    assert ExceptionCase.objects.count() == 1
    assert WorkflowEvent.objects.filter(name="claim.unmatched").count() == 1


def test_what_a_person_decided_stands() -> None:
    study = make_study(make_order(), patient_id="typed")
    reconcile_study(study.pk)
    order = make_order()
    match(case_id=ExceptionCase.objects.get().pk, order_id=order.pk, user=make_user(), reason="Asked the technologist")
    disowned(study)
    claim = study.claims.get()
    assert (claim.identity, claim.matched_by, claim.order) == (Identity.MATCHED, MatchedBy.PERSON, order)


def test_a_person_matches_the_images_to_whom_they_belong() -> None:
    study = disowned(make_study(make_order()))
    reconcile_study(study.pk)
    right = make_order()
    match(case_id=ExceptionCase.objects.get().pk, order_id=right.pk, user=make_user(), reason="It was the next patient")
    assert study.claims.get().matched_patient == right.patient
