"""Two people on one case: the second sees what the first did, and loses nothing of what they typed."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from orchestrator.models import Decision, ExceptionCase, ImagingServiceRequest, Role, Study, User
from orchestrator.services import exceptions
from orchestrator.states import CaseStatus
from reconciliation.models import MatchRun
from reconciliation.services.reconcile import reconcile_study
from tests.factories import make_order, make_patient, make_study, make_user

pytestmark = pytest.mark.django_db

PART = {"HX-Request": "true", "HX-Request-Type": "partial"}
TYPED = "The name band agrees with the request form"
Person = Callable[[str], tuple[Client, User]]


@pytest.fixture
def person() -> Person:
    def person_(name: str) -> tuple[Client, User]:
        user, client = make_user(Role.PACS_ADMINISTRATOR, name=name), Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client, user

    return person_


@pytest.fixture
def held() -> Study:
    order = make_order(patient=make_patient("0012345"), accession_number="A1")
    said: dict[str, Any] = {"patient_id": "12345", "accession_number": "", "requested_procedure_id": "", "sps_id": ""}
    study = make_study(order, uid="2.25.4711", **said)
    reconcile_study(study.pk)
    return study


def case_of(study: Study) -> ExceptionCase:
    return ExceptionCase.objects.get(study=study)


def match_url(study: Study) -> str:
    order = ImagingServiceRequest.objects.get(accession_number="A1")
    return f"/exceptions/{case_of(study).pk}/match/{order.pk}/"


def answered(client: Client, url: str, asked: Any, **more: str) -> Any:
    """What the form that was `asked` sends with a reason."""
    seen = asked.context["seen"]
    return client.post(url, {"seen": seen, "reason": TYPED, **more}, headers=PART)


def test_a_match_waits_when_somebody_touched_the_case_meanwhile(person: Person, held: Study) -> None:
    (mara, _), (_, ines), url = person("mara"), person("ines"), match_url(held)
    asked = mara.get(url, headers=PART)
    exceptions.escalate(case_of(held).pk, user=ines, to=None, reason="Two sisters")
    answer = answered(mara, url, asked)
    assert answer.status_code == 409
    assert "Nothing was written yet" in answer.text
    assert "“Two sisters”" in answer.text
    assert TYPED in answer.text
    assert not Decision.objects.exists()
    assert answered(mara, url, answer).headers["HX-Redirect"] == "/exceptions/"
    assert Decision.objects.get().reason == TYPED


def test_a_match_waits_when_the_order_says_something_else_meanwhile(person: Person, held: Study) -> None:
    (mara, _), url = person("mara"), match_url(held)
    asked = mara.get(url, headers=PART)
    patient = ImagingServiceRequest.objects.get(accession_number="A1").patient
    patient.name = "Doe-Miller^Jane"
    patient.save()
    answer = answered(mara, url, asked)
    assert (answer.status_code, Decision.objects.count()) == (409, 0)
    assert "The order or its patient changed" in answer.text
    assert "Doe-Miller^Jane" in answer.text


def test_a_match_waits_when_a_late_order_became_a_candidate(person: Person, held: Study) -> None:
    (mara, user), url, case = person("mara"), match_url(held), case_of(held)
    exceptions.claim_case(case.pk, user=user)
    asked = mara.get(url, headers=PART)
    page = mara.get(f"/exceptions/{case.pk}/")
    assert "Changed since you opened it" not in page.text
    make_order(patient=make_patient("12345"), accession_number="A2")
    reconcile_study(held.pk)
    case.refresh_from_db()
    assert case.status == CaseStatus.CLAIMED
    poll = mara.get(f"/exceptions/{case.pk}/presence/?seen={page.context['seen']}", headers=PART)
    assert "New comparison, left to the person who has the case" in poll.text
    assert answered(mara, url, asked).status_code == 409
    assert 'data-accession="A2"' in mara.get(f"/exceptions/{case.pk}/").text


def test_who_comes_after_the_decision_sees_it_and_keeps_the_words(person: Person, held: Study) -> None:
    (mara, _), (ines, _), url, case = person("mara"), person("ines"), match_url(held), case_of(held)
    asked = mara.get(url, headers=PART)
    ines.post(f"/exceptions/{case.pk}/reject/", {"code": "113037", "reason": "Wrong patient"})
    answer = answered(mara, url, asked)
    assert answer.status_code == 409
    assert "was resolved meanwhile" in answer.text
    assert TYPED in answer.text
    assert 'type="submit"' not in answer.text
    assert Decision.objects.get().kind == Decision.Kind.REJECT


def test_a_case_of_somebody_away_is_taken_over_with_a_reason(person: Person, held: Study) -> None:
    (mara, _), (_, ines), case = person("mara"), person("ines"), case_of(held)
    exceptions.claim_case(case.pk, user=ines)
    page = mara.get(f"/exceptions/{case.pk}/").text
    assert "Take over" in page
    assert "Match to this order" not in page
    assert mara.post(f"/exceptions/{case.pk}/take-over/", {"reason": ""}).status_code == 422
    mara.post(f"/exceptions/{case.pk}/take-over/", {"reason": "Ines is on holiday"})
    case.refresh_from_db()
    assert (case.status, str(case.owner)) == (CaseStatus.CLAIMED, "mara")
    assert "Ines is on holiday" in mara.get(f"/exceptions/{case.pk}/").text
    assert mara.post(match_url(held), {"reason": TYPED}).status_code == 302


def test_a_decision_keeps_the_whole_comparison_that_was_seen(person: Person, held: Study) -> None:
    (mara, _), case = person("mara"), case_of(held)
    seen = MatchRun.objects.get()
    mara.post(f"/exceptions/{case.pk}/reject/", {"code": "113037", "reason": "Wrong patient"})
    reconcile_study(held.pk)
    assert Decision.objects.get().parameters["match_run"] == seen.pk


def test_what_reads_a_case_is_told_once_and_then_answers_empty(person: Person, held: Study) -> None:
    (mara, _), case = person("mara"), case_of(held)
    page = mara.get(f"/exceptions/{case.pk}/")
    url, etag = f"/exceptions/{case.pk}/presence/?seen={page.context['seen']}", page.context["presence"]["etag"]
    assert mara.get(url, headers={**PART, "If-None-Match": etag}).status_code == 304
    person("ines")[0].get(f"/exceptions/{case.pk}/")
    assert "ines is reading this case" in mara.get(url, headers={**PART, "If-None-Match": etag}).text
