"""An order changes after its images were matched by itself: nothing stays silently wrong."""

from typing import Any

import pytest

from orchestrator.models import ExceptionCase, ImagingServiceRequest, Patient, Study, WorkflowEvent
from orchestrator.states import Identity, MatchedBy
from reconciliation.services.decisions import match
from reconciliation.services.reconcile import reconcile_study, rematch_for_order
from tests.factories import make_order, make_patient, make_study, make_user

pytestmark = pytest.mark.django_db


def matched(order: ImagingServiceRequest, **claim: Any) -> Study:
    study = make_study(order, **claim)
    reconcile_study(study.pk)
    study.refresh_from_db()
    assert study.identity == Identity.MATCHED
    return study


def changed(study: Study, order: ImagingServiceRequest, **columns: object) -> Study:
    """A message changes the order; the subscriber is called as its worker would."""
    for name, value in columns.items():
        setattr(order, name, value)
    order.save()
    rematch_for_order(order.pk)
    study.refresh_from_db()
    return study


def test_images_whose_order_has_another_accession_number_now_are_held_for_a_person() -> None:
    order = make_order(accession_number="A1")
    study = changed(matched(order), order, accession_number="A2")
    claim = study.claims.get()
    assert (study.identity, claim.identity, claim.order) == (Identity.HELD, Identity.HELD, None)
    assert ExceptionCase.objects.get().reason_code == "ACCESSION_DIFFERS"
    # Routing hears of it: what is not sent yet will not be sent.
    assert WorkflowEvent.objects.filter(name="claim.unmatched", subject_id=claim.pk).exists()


def test_they_go_to_the_order_that_has_their_accession_number_now() -> None:
    patient = make_patient()
    wrong = make_order(patient=patient, accession_number="A1")
    study = matched_by_accession(wrong)
    right = make_order(patient=patient, accession_number="A2")
    ImagingServiceRequest.objects.filter(pk=right.pk).update(accession_number="A1")
    changed(study, wrong, accession_number="A3")
    claim = study.claims.get()
    assert (claim.identity, claim.matched_by, claim.order) == (Identity.MATCHED, MatchedBy.AUTO, right)


def matched_by_accession(order: ImagingServiceRequest) -> Study:
    """Images under a study UID of the modality's own."""
    return matched(order, uid="2.25.9", requested_procedure_id="", sps_id="")


def test_images_whose_order_is_another_patients_now_are_held() -> None:
    order = make_order()
    study = changed(matched(order), order, patient=make_patient(name="Roe^Max"))
    assert (study.identity, study.patient) == (Identity.HELD, None)
    assert ExceptionCase.objects.get().reason_code == "PATIENT_ID_CONFLICT"


def test_a_corrected_name_or_another_time_undoes_no_match() -> None:
    order = make_order()
    study = matched(order)
    Patient.objects.filter(pk=order.patient_id).update(name="Roe^Jane", folded_name="JANE ROE")
    order.requested_procedures.get().steps.update(start_date="2026-07-06", station_ae_titles=["CT_SOUTH"])
    changed(study, order, reason="told later")
    assert study.identity == Identity.MATCHED
    assert not WorkflowEvent.objects.filter(name="claim.unmatched").exists()


def test_what_a_person_matched_stands() -> None:
    order = make_order(accession_number="A1")
    study = make_study(order, patient_id="typed")
    reconcile_study(study.pk)
    match(case_id=ExceptionCase.objects.get().pk, order_id=order.pk, user=make_user(), reason="Asked the ward")
    changed(study, order, accession_number="A2")
    assert study.identity == Identity.MATCHED
