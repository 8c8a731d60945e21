"""The REST API of the exceptions queue: what a script reads and decides."""

from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.models import ExceptionCase, InboundMessage, Role, Site, Study
from orchestrator.services.exceptions import open_case
from orchestrator.states import CaseStatus, Identity
from reconciliation.services.reconcile import reconcile_study
from tests.caller import Caller
from tests.factories import make_order, make_site, make_study, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def call() -> Caller:
    make_site()
    return Caller(make_user(Role.PACS_ADMINISTRATOR, name="mara"))


@pytest.fixture
def held() -> Study:
    """A study whose patient ID was typed in: its order is there, and no machine may say so."""
    order = make_order(accession_number="A1")
    study = make_study(order, patient_id="typed", patient_name="Do^Jane", accession_number="")
    reconcile_study(study.pk)
    study.refresh_from_db()
    assert study.identity == Identity.HELD
    return study


def case_of(study: Study) -> ExceptionCase:
    return ExceptionCase.objects.get(study=study)


def test_the_queue_lists_what_waits(call: Caller, held: Study) -> None:
    case = case_of(held)
    for asked in ("status=open", f"kind={case.kind}", f"study_instance_uid={held.study_instance_uid}"):
        [found] = call("GET", f"exceptions/?{asked}")["results"]
        assert found["id"] == case.pk
    assert found["study_instance_uid"] == held.study_instance_uid
    assert found["claim"] == held.claims.get().pk
    assert (found["status"], found["owner"], found["resolved_at"]) == ("OPEN", None, None)
    assert call("GET", "exceptions/?status=resolved")["count"] == 0
    assert case.kind in {each["kind"] for each in call("GET", "exceptions/kinds/")}


def test_the_case_of_a_message_is_found_by_the_message(call: Caller, held: Study) -> None:
    site = Site.objects.get()
    message = InboundMessage.objects.create(site=site, raw=b"MSH|", digest="d", received_at=timezone.now())
    case = open_case(
        "hl7_quarantine", about=message, reason_code="PID-3", summary="set aside", site=site, message=message
    )
    [found] = call("GET", f"exceptions/?status=open&message={message.pk}")["results"]
    assert (found["id"], found["message"]) == (case.pk, message.pk)
    assert call("GET", f"exceptions/?message={message.pk + 1}")["count"] == 0


def test_a_case_about_a_performed_step_names_the_study_whose_images_may_never_come(call: Caller) -> None:
    site, references = Site.objects.get(), [{"study_instance_uid": "1.2.3", "sps_id": "S1"}]
    open_case(
        "mpps_conflict", about=site, reason_code="unknown_step", summary="nobody knows the step", site=site,
        detail={"references": references},
    )  # fmt: skip
    [found] = call("GET", "exceptions/?kind=mpps_conflict")["results"]
    assert (found["study_instance_uid"], found["claim"]) == ("1.2.3", None)


def test_candidates_come_ranked_with_evidence(call: Caller, held: Study) -> None:
    first, *_ = call("GET", f"exceptions/{case_of(held).pk}/candidates/")
    assert first["order"]["accession_number"] == "A1"
    assert first["patient"]["name"] == "Doe^Jane"
    assert (0 < first["score"] < 100, first["auto_match"]) == (True, False)
    by_field = {each["field"]: each for each in first["evidence"]}
    assert (by_field["patient_id"]["verdict"], by_field["patient_id"]["received"]) == ("differ", "typed")
    assert by_field["patient_name"]["expected"] == "Doe^Jane"


def test_a_claim_is_compared_without_opening_a_case(call: Caller) -> None:
    order = make_order(accession_number="A2")
    said = {
        "patient_id": order.patient.identifiers.get().value, "patient_name": "Doe^Jane", "birth_date": "19700228",
        "sex": "F", "accession_number": "A2", "modality": "CT", "study_date": "20260705",
        "calling_ae_title": "CT_NORTH",
    }  # fmt: skip
    first, *_ = call("POST", "candidates/", said)
    assert (first["order"]["id"], first["auto_match"]) == (order.pk, True)
    other, *_ = call("POST", "candidates/", {**said, "birth_date": "19700301"})
    assert (other["order"]["id"], other["auto_match"]) == (order.pk, False)
    assert not ExceptionCase.objects.exists()


def test_a_match_is_previewed_decided_and_taken_back(call: Caller, held: Study) -> None:
    path = f"exceptions/{case_of(held).pk}/"
    order = call("GET", f"{path}candidates/")[0]["order"]["id"]
    changes = {each["attribute"]: each for each in call("GET", f"{path}preview/?action=match&order={order}")["changes"]}
    assert changes["PatientName"]["before"] == "Do^Jane"
    assert changes["PatientName"]["after"] == "Doe^Jane"
    call("POST", f"{path}match/", {"order": order})
    assert call.status == 400, "a decision needs its reason"
    decided = call("POST", f"{path}match/", {"order": order, "reason": "The name band agrees"})
    assert (call.status, decided["status"]) == (200, "RESOLVED")
    study = call("GET", f"studies/{held.study_instance_uid}/")
    assert (study["identity"], study["matched_by"], study["order"]["id"]) == ("MATCHED", "person", order)
    call("POST", f"{path}match/", {"order": order, "reason": "again"})
    assert call.status == 409
    assert call("POST", f"{path}undo/", {"reason": "It was the sister"})["status"] == "OPEN"
    assert call("GET", f"studies/{held.study_instance_uid}/")["identity"] == "HELD"
    call("POST", f"{path}undo/", {"reason": "again"})
    assert call.status == 409


def test_sides_are_named_as_evidence_names_them_or_by_keyword(call: Caller, held: Study) -> None:
    path = f"exceptions/{case_of(held).pk}/"
    found = call("GET", f"{path}candidates/")[0]
    assert "patient_name" in {each["field"] for each in found["evidence"]}
    match = {"order": found["order"]["id"], "reason": "She married"}
    call("POST", f"{path}match/", {**match, "sides": {"shoe_size": "study"}})
    assert call.status == 409
    call("POST", f"{path}match/", {**match, "sides": {"patient_name": "study", "AccessionNumber": "order"}})
    assert call.status == 200
    corrected = set(held.claims.get().corrections.values_list("attribute", flat=True))
    assert corrected == {"PatientID", "IssuerOfPatientID", "AccessionNumber"}


def test_what_is_no_match_changes_nothing_in_what_leaves(call: Caller, held: Study) -> None:
    path = f"exceptions/{case_of(held).pk}/preview/"
    for act in ("reject", "undo", "hand-back"):
        assert call("GET", f"{path}?action={act}") == {"changes": []}
    call("GET", f"{path}?action=burn")
    assert call.status == 400


def test_a_reopened_case_has_its_whole_time_again(call: Caller, held: Study) -> None:
    case = case_of(held)
    path = f"exceptions/{case.pk}/"
    ExceptionCase.objects.filter(pk=case.pk).update(due_at=timezone.now() - timedelta(days=1))
    call("POST", f"{path}reject/", {"code": "113037", "reason": "Wrong patient"})
    call("POST", f"{path}undo/", {"reason": "It was the right one"})
    case.refresh_from_db()
    assert case.due_at > timezone.now()


def test_held_images_are_rejected_with_a_code_and_not_dismissed(call: Caller, held: Study) -> None:
    path = f"exceptions/{case_of(held).pk}/"
    call("POST", f"{path}dismiss/", {"reason": "away with it"})
    assert call.status == 409
    call("POST", f"{path}reject/", {"code": "whatever", "reason": "?"})
    assert call.status == 400
    call("POST", f"{path}reject/", {"code": "113037", "reason": "Wrong patient on the table"})
    assert call("GET", f"studies/{held.study_instance_uid}/")["identity"] == "REJECTED"


def test_a_case_is_claimed_by_one_and_left_alone_by_the_other(call: Caller, held: Study) -> None:
    path = f"exceptions/{case_of(held).pk}/"
    assert call("POST", f"{path}claim/", {"reason": "Looking"})["owner"] == "mara"
    other = Caller(make_user(Role.PACS_ADMINISTRATOR, name="ines"))
    answer = other("POST", f"{path}claim/", {"reason": "Mine"})
    assert other.status == 409
    assert "mara" in answer["detail"]
    assert call("POST", f"{path}hand-back/", {"reason": "Lunch"})["status"] == "OPEN"
    later = call("POST", f"{path}snooze/", {"until": "2036-01-01T00:00:00Z", "reason": "The ward calls back"})
    assert later["status"] == "SNOOZED"
    assert call("POST", f"{path}escalate/", {"reason": "Risk management"})["status"] == "ESCALATED"


def test_an_order_of_another_site_is_neither_shown_nor_taken(held: Study) -> None:
    elsewhere = make_order(site=make_site("SOUTH", issuer=""), accession_number="A9")
    call = Caller(make_user(Role.PACS_ADMINISTRATOR, site=held.site))
    path = f"exceptions/{case_of(held).pk}/"
    assert elsewhere.pk not in {each["order"]["id"] for each in call("GET", f"{path}candidates/")}
    call("POST", f"{path}match/", {"order": elsewhere.pk, "reason": "?"})
    assert call.status == 400
    call("GET", f"{path}preview/?action=match&order={elsewhere.pk}")
    assert call.status == 400


def test_a_case_is_escalated_only_to_who_may_settle_it_there(held: Study) -> None:
    north, south = held.site, make_site("SOUTH", issuer="")
    make_user(Role.PACS_ADMINISTRATOR, site=south, name="elsewhere")
    make_user(Role.READER, site=north, name="reader")
    make_user(Role.ADMINISTRATOR, name="chief")
    call = Caller(make_user(Role.PACS_ADMINISTRATOR, site=north))
    path = f"exceptions/{case_of(held).pk}/escalate/"
    for nobody in ("elsewhere", "reader", "does-not-exist"):
        answer = call("POST", path, {"to": nobody, "reason": "?"})
        assert call.status == 400
        assert "does not exist" in str(answer["errors"]["to"])
    assert call("POST", path, {"to": "chief", "reason": "Risk"})["owner"] == "chief"


def test_who_may_look_may_not_decide(held: Study) -> None:
    case = case_of(held)
    watcher = Caller(make_user(Role.MANAGER))
    assert watcher("GET", f"exceptions/{case.pk}/")["id"] == case.pk
    for act in ("claim", "match", "reject", "dismiss", "undo", "snooze", "escalate", "hand-back"):
        watcher("POST", f"exceptions/{case.pk}/{act}/", {"reason": "?", "order": 1})
        assert watcher.status == 403, act
    case.refresh_from_db()
    assert case.status == CaseStatus.OPEN
