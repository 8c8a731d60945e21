"""A record that changes behind what was matched: corrections follow, and what is held is looked at again."""

import datetime as dt

import pytest

from orchestrator.models import IdentityClaim, ImagingServiceRequest, Subscription, WorkflowEvent
from orchestrator.services.orders import OrderData, place
from orchestrator.services.patients import IdentifierData, PatientData, upsert_patient
from orchestrator.services.subscriptions import run_subscription
from orchestrator.states import Identity
from reconciliation.services.decisions import match
from reconciliation.services.reconcile import reconcile_study
from tests.factories import BORN, NAME, SEX, make_order, make_study, make_user

pytestmark = pytest.mark.django_db


def work() -> None:
    """All that is owed to our own subscribers."""
    mine = Subscription.objects.filter(status="PENDING", subscriber__startswith="reconciliation")
    while owed := list(mine.values_list("pk", flat=True)):
        for pk in owed:
            run_subscription(pk)


def update(order: ImagingServiceRequest, *, name: str = NAME, born: dt.date = BORN) -> None:
    """An A08 about the patient of an order."""
    identifier = order.patient.identifiers.get()
    data = PatientData(
        identifiers=[IdentifierData(identifier.value, identifier.issuer.namespace or "")],
        name=name,
        birth_date=born,
        sex=SEX,
        updates=True,
    )
    upsert_patient(data=data, site=order.site)
    work()


def corrections(claim: IdentityClaim) -> dict[str, str]:
    return dict(claim.corrections.values_list("attribute", "new"))


def reconciled() -> int:
    return WorkflowEvent.objects.filter(name="study.reconciled").count()


def test_an_update_of_the_patient_corrects_what_was_matched_and_has_it_routed_again() -> None:
    order = make_order()
    study = make_study(order)
    reconcile_study(study.pk)
    claim, before = study.claims.get(), reconciled()
    assert "PatientName" not in corrections(claim)
    update(order, name="Newname^Jane")
    assert corrections(claim)["PatientName"] == "Newname^Jane"
    assert reconciled() == before + 1


def test_an_update_that_changes_nothing_has_nothing_routed_again() -> None:
    order = make_order()
    reconcile_study(make_study(order).pk)
    before = reconciled()
    update(order)
    assert reconciled() == before


def test_what_a_person_let_stand_still_stands() -> None:
    order = make_order()
    study = make_study(order, patient_name="Dough^Jane", birth_date="19700301")
    reconcile_study(study.pk)
    claim = study.claims.get()
    match(
        case_id=claim.cases.get().pk, order_id=order.pk, user=make_user(), reason="the modality is right",
        sides={"PatientBirthDate": "study"},
    )  # fmt: skip
    update(order, name="Newname^Jane")
    found = corrections(claim)
    assert found["PatientName"] == "Newname^Jane"
    assert "PatientBirthDate" not in found
    assert claim.corrections.get(attribute="PatientName").decision == claim.decisions.get()


def renumber(order: ImagingServiceRequest) -> None:
    """An XO that gives an order another accession number, A777."""
    place(
        order=order, data=OrderData(accession_number="A777"), patient=order.patient, visit=None, interface=None,
        site=order.site, anew=False,
    )  # fmt: skip
    work()


def test_an_order_that_gets_another_accession_number_corrects_what_a_person_matched() -> None:
    order = make_order()
    study = make_study(order, patient_name="Dough^Jane")
    reconcile_study(study.pk)
    claim = study.claims.get()
    match(case_id=claim.cases.get().pk, order_id=order.pk, user=make_user(), reason="the name band says so")
    renumber(order)
    assert corrections(claim)["AccessionNumber"] == "A777"


def test_what_was_matched_by_itself_is_held_then_and_never_leaves_under_the_new_number() -> None:
    order = make_order()
    study = make_study(order)
    reconcile_study(study.pk)
    renumber(order)
    claim = study.claims.get()
    assert (claim.identity, corrections(claim)) == (Identity.HELD, {})
    corrected = WorkflowEvent.objects.filter(name="claim.corrected", subject_id=claim.pk)
    assert not [each for each in corrected if "AccessionNumber" in each.detail["attributes"]]


def test_held_images_match_once_the_patient_is_corrected() -> None:
    order = make_order()
    study = make_study(order, birth_date="19700301")
    reconcile_study(study.pk)
    assert study.claims.get().identity == Identity.HELD
    update(order, born=BORN.replace(month=3, day=1))
    assert study.claims.get().identity == Identity.MATCHED
