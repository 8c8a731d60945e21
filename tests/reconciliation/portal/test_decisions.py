"""Match, reject and undo on the case page: shown first, reasoned, written once."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from orchestrator.models import Decision, ExceptionCase, ImagingServiceRequest, Role, Site, Study
from orchestrator.services.exceptions import open_case
from orchestrator.services.workflow import transition
from orchestrator.states import CaseStatus, DeliveryStatus, Identity, MatchedBy, OrderStatus, StepStatus
from reconciliation.models import MatchRun
from reconciliation.services.reconcile import reconcile_study
from routing.models import DeliveredInstance, Delivery
from routing.services.route import route_study, withdraw_claim
from tests.factories import (
    DAY,
    make_claim,
    make_order,
    make_patient,
    make_site,
    make_step,
    make_study,
    make_user,
    step_of,
)
from tests.routing.ward import destination, publish, send_rule
from worklists.models import WorklistEntry

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
    assert "CT head, CT, 2026-07-05 10:30, CT_NORTH" in page
    assert "No automatic match: Patient ID" in page
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
    assert "is matched to A1" in again.text
    assert Decision.objects.count() == 1
    client.post(f"/exceptions/{case_of(held).pk}/undo/?decision={Decision.objects.get().pk}")
    assert Decision.objects.exclude(undone_at=None).count() == 1


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


def test_an_issuer_leaves_with_its_id(sign_in: SignIn, held: Study) -> None:
    held.claims.update(issuer="ELSEWHERE")
    sign_in().post(match_url(held), {"reason": "Theirs", "side_PatientID": "study", "side_IssuerOfPatientID": "order"})
    kept = {each.attribute for each in held.claims.get().corrections.all()}
    assert not {"PatientID", "IssuerOfPatientID"} & kept


def test_a_side_that_is_none_is_refused(sign_in: SignIn, held: Study) -> None:
    answer = sign_in().post(match_url(held), {"reason": "Sure", "side_PatientName": "neither"})
    assert answer.status_code == 422
    assert not Decision.objects.exists()


def test_later_images_that_say_the_same_leave_the_same_way_until_it_is_taken_back(sign_in: SignIn, held: Study) -> None:
    client, case, first = sign_in(), case_of(held), held.claims.get()
    client.post(match_url(held), {"reason": "She married", "remember": "on", "side_PatientName": "study"})
    same = {name: getattr(first, name) for name in ("patient_id", "patient_name", "birth_date", "sex", "modality")}
    late = make_claim(held, **same, calling_ae_title="CT_WORKSTATION", study_date=first.study_date)
    reconcile_study(held.pk)
    late.refresh_from_db()
    assert (late.identity, late.matched_by) == (Identity.MATCHED, MatchedBy.PERSON)
    assert set(late.corrections.values_list("attribute", flat=True)) == {
        "PatientID", "IssuerOfPatientID", "AccessionNumber",
    }  # fmt: skip
    client.post(f"/exceptions/{case.pk}/undo/", {"reason": "It was the sister"})
    late.refresh_from_db()
    held.refresh_from_db()
    assert (late.identity, late.corrections.count(), held.identity) == (Identity.HELD, 0, Identity.HELD)


def test_a_match_is_to_the_step_whose_evidence_was_shown(sign_in: SignIn, held: Study) -> None:
    order = ImagingServiceRequest.objects.get(accession_number="A1")
    second = make_step(order, start_date=DAY + timedelta(days=1))
    held.claims.update(study_date=f"{second.start_date:%Y%m%d}")
    sign_in().post(match_url(held), {"reason": "Sure"})
    assert held.claims.get().step == second


def test_the_undo_beside_the_word_needs_no_reason(sign_in: SignIn, held: Study) -> None:
    client, case = sign_in(), case_of(held)
    answer = client.post(match_url(held), {"reason": "Sure"}, follow=True)
    undo = f"/exceptions/{case.pk}/undo/?decision={Decision.objects.get().pk}"
    assert f'action="{undo}"' in answer.text
    client.post(undo)
    held.refresh_from_db()
    assert (held.identity, Decision.objects.get().undo_reason) == (Identity.HELD, "taken back at once")


def test_the_undo_beside_the_word_takes_no_later_decision_back(sign_in: SignIn, held: Study) -> None:
    client, case = sign_in(), case_of(held)
    client.post(match_url(held), {"reason": "Sure"})
    first = Decision.objects.get()
    client.post(f"/exceptions/{case.pk}/undo/", {"reason": "It was the sister"})
    client.post(f"/exceptions/{case.pk}/reject/", {"code": "TEST", "reason": "A phantom"})
    answer = client.post(f"/exceptions/{case.pk}/undo/?decision={first.pk}", follow=True)
    assert "Nothing was changed: That decision was taken back already" in answer.text
    assert Decision.objects.get(undone_at=None).kind == Decision.Kind.REJECT


def test_after_a_decision_the_next_case_comes_and_not_one_of_somebody_else(sign_in: SignIn, held: Study) -> None:
    theirs, mine = (make_study(patient_id=f"other {number}", modality="CT") for number in range(2))
    for study in (theirs, mine):
        reconcile_study(study.pk)
    sign_in().post(f"/exceptions/{case_of(theirs).pk}/claim/")
    answer = sign_in().post(f"/exceptions/{case_of(held).pk}/reject/", {"code": "113001", "reason": "Blurred"})
    assert answer.headers["Location"] == f"/exceptions/{case_of(mine).pk}/"


def test_a_refused_form_keeps_what_was_typed(sign_in: SignIn, held: Study) -> None:
    answer = sign_in().post(match_url(held), {"reason": "x" * 501, "side_PatientName": "study"})
    assert answer.status_code == 422
    assert "x" * 501 in answer.text
    assert answer.context["sides"]["side_PatientName"].value() == "study"
    assert answer.context["form"]["remember"].value() is False
    refused = sign_in().post(f"/exceptions/{case_of(held).pk}/reject/", {"code": "", "reason": "Blurred"})
    assert refused.status_code == 422
    assert "Blurred" in refused.text


def test_a_closed_case_asks_nothing_and_says_what_it_came_to(sign_in: SignIn, held: Study) -> None:
    client, case = sign_in(), case_of(held)
    client.post(match_url(held), {"reason": "The name band agrees"})
    page = client.get(f"/exceptions/{case.pk}/").text
    assert "Match to this order" not in page
    assert "The name band agrees" in page
    assert "Evidence when it was matched" in page
    for door in (match_url(held), f"/exceptions/{case.pk}/reject/"):
        assert "was resolved meanwhile" in client.get(door, follow=True).text


def test_a_case_about_images_that_are_not_held_is_dismissed_not_matched(sign_in: SignIn, held: Study) -> None:
    claim = held.claims.get()
    case = open_case(
        "already_delivered", about=held, reason_code="R", summary="Sent before the undo.", site=held.site, study=held,
        claim=claim,
    )  # fmt: skip
    client, order = sign_in(), ImagingServiceRequest.objects.get(accession_number="A1")
    assert "Match to this order" not in client.get(f"/exceptions/{case.pk}/").text
    asked = client.post(f"/exceptions/{case.pk}/match/{order.pk}/", {"reason": "?"}, follow=True)
    assert "not about held images" in asked.text
    client.post(f"/exceptions/{case.pk}/dismiss/", {"reason": "The archive deleted them"})
    case.refresh_from_db()
    claim.refresh_from_db()
    assert (case.status, claim.identity) == (CaseStatus.DISMISSED, Identity.HELD)


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda order: transition(step_of(order), "step.canceled"), "Its step is canceled"),
        (lambda order: reconcile_study(make_study(order).pk), "Another study was matched to it already"),
    ],
)
def test_an_order_that_is_over_carries_a_warning(
    sign_in: SignIn, held: Study, spoil: Callable[[ImagingServiceRequest], object], word: str
) -> None:
    order = ImagingServiceRequest.objects.get(accession_number="A1")
    spoil(order)
    reconcile_study(held.pk)
    assert word in sign_in().get(f"/exceptions/{case_of(held).pk}/").text


def test_a_case_never_compared_is_compared_when_it_is_looked_at_and_nothing_is_written(
    sign_in: SignIn, held: Study
) -> None:
    MatchRun.objects.all().delete()
    assert 'data-accession="A1"' in sign_in().get(f"/exceptions/{case_of(held).pk}/").text
    assert not MatchRun.objects.exists()


def test_ten_candidates_cost_as_many_queries_as_one(
    sign_in: SignIn, held: Study, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client, url = sign_in(), f"/exceptions/{case_of(held).pk}/"
    client.get(url)  # the first look also says that one looks
    for compared in (True, False):
        if not compared:
            MatchRun.objects.all().delete()
        with CaptureQueriesContext(connection) as alone:
            client.get(url)
        orders = [make_order(patient=make_patient(name=f"Do^Jane{number}")) for number in range(5)]
        if compared:
            reconcile_study(held.pk)
        with django_assert_num_queries(len(alone)):
            assert len(client.get(url).context["candidates"]) > len(orders)


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


def test_the_undo_puts_the_step_back_that_only_the_match_had_done(sign_in: SignIn, held: Study) -> None:
    client, order = sign_in(), ImagingServiceRequest.objects.get(accession_number="A1")
    client.post(match_url(held), {"reason": "Sure"})
    order.refresh_from_db()
    assert (step_of(order).status, order.status) == (StepStatus.COMPLETED, OrderStatus.COMPLETED)
    assert not WorklistEntry.objects.get(step=step_of(order)).visible
    client.post(f"/exceptions/{case_of(held).pk}/undo/", {"reason": "It was the sister"})
    order.refresh_from_db()
    assert (step_of(order).status, order.status) == (StepStatus.SCHEDULED, OrderStatus.SCHEDULED)
    assert WorklistEntry.objects.get(step=step_of(order)).visible


def test_the_undo_leaves_a_step_done_that_the_modality_said_is_done(sign_in: SignIn, held: Study) -> None:
    client, order = sign_in(), ImagingServiceRequest.objects.get(accession_number="A1")
    transition(step_of(order), "step.completed")
    client.post(match_url(held), {"reason": "Sure"})
    client.post(f"/exceptions/{case_of(held).pk}/undo/", {"reason": "It was the sister"})
    assert step_of(order).status == StepStatus.COMPLETED


def test_where_the_images_go_is_said_before_and_what_is_there_already_before_the_undo(
    sign_in: SignIn, held: Study
) -> None:
    client, undo = sign_in(), f"/exceptions/{case_of(held).pk}/undo/"
    assert "No rules are published" in client.get(match_url(held)).text
    near, far = (destination(name=name, ae_title=name.upper()) for name in ("Near", "Far"))
    publish(send_rule(near, far, name="CT"))
    for page in (match_url(held), f"/exceptions/{case_of(held).pk}/"):
        assert "To Near, by the rule “CT”" in client.get(page).text
    client.post(match_url(held), {"reason": "Sure"})
    assert "Nothing of it has left yet" in client.get(undo).text
    route_study(held.pk)
    DeliveredInstance.objects.filter(delivery__destination=near).update(status=DeliveryStatus.SENT)
    told = client.get(undo).text
    assert "Near has images already: a case opens for it" in told
    assert "What waits for Far will not be sent" in told
    client.post(undo, {"reason": "It was the sister"})
    withdraw_claim(held.claims.get().pk)
    assert Delivery.objects.get(destination=far).status == DeliveryStatus.CANCELED
    assert ExceptionCase.objects.get(kind="already_delivered").source == "Near"


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
