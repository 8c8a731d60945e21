"""Match, reject and undo on the case page: shown first, reasoned, written once."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from orchestrator.models import Decision, ExceptionCase, ImagingServiceRequest, Role, Site, Study
from orchestrator.states import CaseStatus, Identity, MatchedBy
from reconciliation.services.reconcile import reconcile_study
from tests.factories import make_order, make_patient, make_site, make_study, make_user

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>"
SignIn = Callable[..., Client]


@pytest.fixture
def sign_in() -> SignIn:
    def sign_in_(role: Role = Role.PACS_ADMINISTRATOR, site: Site | None = None) -> Client:
        client = Client()
        client.force_login(make_user(role, site=site), backend="django.contrib.auth.backends.ModelBackend")
        return client

    return sign_in_


@pytest.fixture
def held() -> Study:
    """Typed in at the console: the ID lost its zeros, the name a letter, and there is no accession number."""
    order = make_order(patient=make_patient("0012345"), accession_number="A1")
    typed: dict[str, Any] = {"patient_id": "12345", "patient_name": "Do^Jane"}
    nothing: dict[str, Any] = {"accession_number": "", "requested_procedure_id": "", "sps_id": ""}
    study = make_study(order, uid="2.25.4711", **typed, **nothing)
    reconcile_study(study.pk)
    study.refresh_from_db()
    assert study.identity == Identity.HELD
    return study


def case_of(study: Study) -> ExceptionCase:
    return ExceptionCase.objects.get(study=study)


def match_url(study: Study) -> str:
    order = ImagingServiceRequest.objects.get(accession_number="A1")
    return f"/exceptions/{case_of(study).pk}/match/{order.pk}/"


def test_the_case_shows_its_candidates_with_what_differs_and_what_a_match_would_change(
    sign_in: SignIn, held: Study
) -> None:
    page = sign_in().get(f"/exceptions/{case_of(held).pk}/").text
    assert 'data-accession="A1"' in page
    assert "Match to this order" in page
    assert "0012345 (MAIN)" in page
    assert "preview of a match to A1" in page
    assert "Original Attributes Sequence" in page


def test_a_match_is_asked_with_its_changes_and_written_with_its_reason(sign_in: SignIn, held: Study) -> None:
    client = sign_in()
    asked = client.get(match_url(held)).text
    assert "Match EX-" in asked
    assert "0010,0020" in asked
    assert client.post(match_url(held), {"reason": ""}).status_code == 422
    answer = client.post(match_url(held), {"reason": "The name band agrees", "remember": "on"}, follow=True)
    assert "is matched to A1" in answer.text
    held.refresh_from_db()
    claim = held.claims.get()
    assert (held.identity, claim.matched_by) == (Identity.MATCHED, MatchedBy.PERSON)
    assert {each.attribute: each.new for each in claim.corrections.all()}["PatientID"] == "0012345"
    assert (Decision.objects.get().reason, Decision.objects.get().remember) == ("The name band agrees", True)


def test_a_double_click_matches_once(sign_in: SignIn, held: Study) -> None:
    client, url = sign_in(), match_url(held)
    client.post(url, {"reason": "Sure"})
    again = client.post(url, {"reason": "Sure"}, follow=True)
    assert "Nothing was changed" in again.text
    assert Decision.objects.count() == 1


def test_two_people_decide_differently_and_the_first_counts(sign_in: SignIn, held: Study) -> None:
    url = match_url(held)
    sign_in().post(f"/exceptions/{case_of(held).pk}/reject/", {"code": "113037", "reason": "Wrong patient"})
    late = sign_in().post(url, {"reason": "Sure"}, follow=True)
    assert "Nothing was changed" in late.text
    held.refresh_from_db()
    assert held.identity == Identity.REJECTED


def test_a_received_value_may_stand_against_the_order(sign_in: SignIn, held: Study) -> None:
    sign_in().post(match_url(held), {"reason": "She married", "side_PatientName": "study"})
    kept = {each.attribute for each in held.claims.get().corrections.all()}
    assert "PatientName" not in kept
    assert "PatientID" in kept


def test_a_decision_is_taken_back_from_the_case(sign_in: SignIn, held: Study) -> None:
    client, case = sign_in(), case_of(held)
    client.post(match_url(held), {"reason": "Sure"})
    assert "Take it back" in client.get(f"/exceptions/{case.pk}/").text
    client.post(f"/exceptions/{case.pk}/undo/", {"reason": "It was the sister"})
    again = client.post(f"/exceptions/{case.pk}/undo/", {"reason": "It was the sister"}, follow=True)
    assert "Nothing was changed" in again.text
    case.refresh_from_db()
    held.refresh_from_db()
    assert (case.status, held.identity) == (CaseStatus.OPEN, Identity.HELD)
    assert not held.claims.get().corrections.exists()


def test_a_case_of_somebody_else_is_not_decided(sign_in: SignIn, held: Study) -> None:
    case = case_of(held)
    sign_in().post(f"/exceptions/{case.pk}/claim/")
    answer = sign_in().post(match_url(held), {"reason": "Mine"}, follow=True)
    assert "is with" in answer.text
    assert not Decision.objects.exists()


def test_an_order_of_another_site_is_no_candidate_and_cannot_be_named(sign_in: SignIn, held: Study) -> None:
    south = make_site("SOUTH", issuer="")
    theirs = make_order(site=south, accession_number="A9")
    client = sign_in(site=held.site)
    assert client.post(f"/exceptions/{case_of(held).pk}/match/{theirs.pk}/", {"reason": "?"}).status_code == 404
    assert sign_in(site=south).get(match_url(held)).status_code == 404


@pytest.mark.parametrize("role", [Role.MANAGER, Role.QA_TECHNOLOGIST])
def test_who_may_only_look_sees_no_button_and_opens_no_door(sign_in: SignIn, held: Study, role: Role) -> None:
    client = sign_in(role)
    assert "Match to this order" not in client.get(f"/exceptions/{case_of(held).pk}/").text
    assert client.post(match_url(held), {"reason": "?"}).status_code == 403


def test_what_peers_sent_is_text(sign_in: SignIn) -> None:
    order = make_order(patient=make_patient(name=f"{HOSTILE}^Eve"), accession_number="A2")
    study = make_study(order, patient_id=HOSTILE, accession_number="")
    reconcile_study(study.pk)
    client, case = sign_in(), case_of(study)
    for path in ("", f"match/{order.pk}/", "reject/"):
        assert HOSTILE not in client.get(f"/exceptions/{case.pk}/{path}").text
