"""The REST API: what a script reads of patients, orders, studies, messages and people."""

import datetime as dt
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orchestrator import audit
from orchestrator.api import pagination
from orchestrator.models import AccessEvent, HL7Application, InboundMessage, Role, RoleAssignment, User, search
from orchestrator.services.tokens import READ
from orchestrator.services.workflow import record
from orchestrator.states import Identity, InboundStatus
from tests.caller import Caller
from tests.factories import make_claim, make_order, make_patient, make_site, make_study, make_user, step_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def call() -> Caller:
    return Caller(make_user(Role.PACS_ADMINISTRATOR))


def test_without_a_token_there_is_nothing(client: Client) -> None:
    answer = client.get("/api/v1/patients/")
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 401


def test_a_revoked_token_says_so(client: Client) -> None:
    answer = client.get("/api/v1/patients/", headers={"Authorization": "Token nonsense"})
    assert answer.status_code == 401
    assert "unknown, expired or revoked" in answer.json()["detail"]


def test_a_patient_is_found_by_identifier_with_and_without_its_issuer(call: Caller) -> None:
    jane = make_patient("0012", issuer="MAIN")
    john = make_patient("0012", issuer="OTHER", name="Roe^John")
    assert {each["id"] for each in call("GET", "patients/?identifier=0012")["results"]} == {jane.pk, john.pk}
    [found] = call("GET", "patients/?identifier=0012^OTHER")["results"]
    assert found["identifiers"] == [{"value": "0012", "issuer": "OTHER"}]
    assert (found["name"], found["birth_date"], found["sex"]) == ("Roe^John", "1970-02-28", "F")
    assert (found["merged_into"], found["active"]) == (None, True)
    assert call("GET", "patients/?identifier=12")["results"] == []


def test_a_patient_is_found_by_words_of_the_name_in_any_order(call: Caller) -> None:
    make_patient(name="Müller-Łuczak^Anna")
    assert call("GET", "patients/?name=anna muller")["count"] == 1
    assert call("GET", "patients/?name=hanna")["count"] == 0
    assert call("GET", "patients/?name=^")["count"] == 0


def test_a_merged_record_is_still_read_and_names_its_survivor(call: Caller) -> None:
    survivor = make_patient()
    merged = make_patient("DEAD", merged_into=survivor)
    assert call("GET", f"patients/{merged.pk}/")["merged_into"] == survivor.pk
    assert call("GET", "patients/?identifier=DEAD")["results"][0]["merged_into"] == survivor.pk


def test_a_filter_that_does_not_exist_is_refused_and_never_gives_the_whole_list(call: Caller) -> None:
    make_patient()
    answer = call("GET", "patients/?identifer=0012")
    assert call.status == 400
    assert "identifer" in answer["errors"]


def test_each_list_is_searched_by_post_with_the_same_answer(call: Caller) -> None:
    make_patient("0012")
    make_patient("0013")
    by_get = call("GET", "patients/?identifier=0012")["results"]
    assert call("POST", "patients/search/", {"identifier": "0012"})["results"] == by_get
    assert call("POST", "patients/search/", ["0012"])["status"] == 400


def test_an_order_shows_its_patient_procedures_and_steps(call: Caller) -> None:
    order = make_order(accession_number="A7", placer_order_number="PL7")
    step = step_of(order)
    for asked in ("accession_number=A7", "placer_order_number=PL7", f"patient={order.patient_id}"):
        [found] = call("GET", f"orders/?{asked}")["results"]
        assert found["id"] == order.pk
    assert found["patient"]["name"] == "Doe^Jane"
    [procedure] = found["requested_procedures"]
    assert procedure["study_instance_uid"] == step.procedure.study_instance_uid
    [shown] = procedure["steps"]
    assert (shown["sps_id"], shown["status"], shown["modality"]) == (step.sps_id, "SCHEDULED", "CT")
    assert (shown["station_ae_titles"], shown["start"]) == (["CT_NORTH"], "2026-07-05T10:30:00")


def test_a_study_shows_its_claims_and_the_one_order(call: Caller) -> None:
    order = make_order(accession_number="A8")
    study = make_study(order, identity=Identity.MATCHED, matched_by="auto", matched_patient=order.patient)
    step = step_of(order)
    study.claims.update(order=order, step=step)
    uid = study.study_instance_uid
    [found] = call("GET", f"studies/?study_instance_uid={uid}")["results"]
    assert found == call("GET", f"studies/{uid}/")
    assert (found["accession_number"], found["matched_by"], found["order"]["id"]) == ("A8", "auto", order.pk)
    [claim] = found["claims"]
    assert (claim["patient_name"], claim["order"]) == ("Doe^Jane", found["order"])
    assert claim["step"] == {
        "id": step.pk, "sps_id": step.sps_id, "status": step.status,
        "requested_procedure_id": step.procedure.requested_procedure_id,
        "study_instance_uid": step.procedure.study_instance_uid,
    }  # fmt: skip
    assert found["series"][0]["modality"] == "CT"
    assert call("GET", "studies/?accession_number=A8&custody=received")["count"] == 1
    assert call("GET", "studies/?accession_number=A8&identity=held")["count"] == 0


def test_a_study_of_two_orders_has_no_one_order(call: Caller) -> None:
    one, two = make_order(), make_order()
    study = make_study(one, identity=Identity.MATCHED, matched_by="auto")
    study.claims.update(order=one)
    make_claim(study, order=two, identity=Identity.MATCHED, matched_by="person")
    found = call("GET", f"studies/{study.study_instance_uid}/")
    assert (found["order"], found["matched_by"]) == (None, None)
    assert {each["id"] for each in found["orders"]} == {one.pk, two.pk}
    assert [claim["order"]["id"] for claim in found["claims"]] == [one.pk, two.pk]
    assert {claim["step"] for claim in found["claims"]} == {None}


def test_the_timeline_tells_everything_oldest_first(call: Caller) -> None:
    study = make_study(make_order())
    record("study.reconciled", study)
    record("study.extended", study, detail={"instances": 2})
    events = call("GET", f"studies/{study.study_instance_uid}/timeline/")
    assert [each["name"] for each in events] == ["study.reconciled", "study.extended"]
    assert events[1]["detail"] == {"instances": 2}
    assert events[0]["actor"] == {"kind": "system", "name": "Fiducial"}
    assert events[0]["subject"] == {"type": "study", "id": study.pk}


def test_a_role_at_one_site_sees_nothing_of_another(call: Caller) -> None:
    north, south = make_site("NORTH"), make_site("SOUTH")
    there = Caller(make_user(Role.PACS_ADMINISTRATOR, site=north))
    study = make_study(make_order(site=south))
    order = make_order(site=south)
    for path in (f"studies/{study.study_instance_uid}/", f"studies/{study.study_instance_uid}/timeline/",
                 f"orders/{order.pk}/", f"patients/{order.patient_id}/"):  # fmt: skip
        there("GET", path)
        assert there.status == 404, path
        call("GET", path)
        assert call.status == 200, path
    assert there("GET", "studies/")["count"] == 0


def test_a_reader_may_not_see_the_queue_and_a_read_token_may_not_write() -> None:
    reader = Caller(make_user(Role.READER))
    reader("GET", "exceptions/")
    assert reader.status == 403
    looks_only = Caller(make_user(Role.PACS_ADMINISTRATOR), scopes=(READ,))
    looks_only("POST", "tokens/", {"name": "more"})
    assert looks_only.status == 403
    assert looks_only("GET", "tokens/")["count"] == 1


def test_lists_are_keyset_pages_with_a_count(call: Caller) -> None:
    for _ in range(5):
        make_patient()
    first = call("GET", "patients/?page_size=2")
    assert (first["count"], len(first["results"]), first["previous"]) == (5, 2, None)
    seen = [each["id"] for each in first["results"]]
    following = first["next"]
    while following:
        page = call("GET", following.partition("/api/v1/")[2])
        seen += [each["id"] for each in page["results"]]
        following = page["next"]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 5


def test_a_page_leads_back_to_the_one_before(call: Caller) -> None:
    for _ in range(3):
        make_patient()
    first = call("GET", "patients/?page_size=2")
    second = call("GET", first["next"].partition("/api/v1/")[2])
    assert call("GET", second["previous"].partition("/api/v1/")[2])["results"] == first["results"]


def test_beyond_what_is_counted_exactly_the_count_says_that_it_is_an_estimate(
    call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagination, "EXACT_TO", 2)
    make_patient(), make_patient()
    assert "count_is_estimate" not in call("GET", "patients/")
    make_patient()
    page = call("GET", "patients/")
    assert (page["count"], page["count_is_estimate"], len(page["results"])) == (2, True, 3)


def test_issuers_are_named_by_those_who_look_after_all_sites(call: Caller) -> None:
    chief = Caller(make_user(Role.ADMINISTRATOR))
    made = chief("POST", "issuers/", {"namespace": "NORTH"})
    assert (chief.status, made["namespace"], made["universal_id"]) == (201, "NORTH", None)
    chief("POST", "issuers/", {"namespace": "NORTH"})
    assert chief.status == 400, "one name is one issuer"
    chief("POST", "issuers/", {"namespace": "", "universal_id": ""})
    assert chief.status == 400, "an issuer has a name"
    chief("PATCH", f"issuers/{made['id']}/", {"namespace": None})
    assert chief.status == 400
    named = chief("PATCH", f"issuers/{made['id']}/", {"universal_id": "1.2.3", "universal_id_type": "ISO"})
    assert (chief.status, named["namespace"], named["universal_id"]) == (200, "NORTH", "1.2.3")
    assert call("GET", "issuers/")["count"] == 1
    call("POST", "issuers/", {"namespace": "SOUTH"})
    assert call.status == 403


def test_sites_and_interfaces_are_made_and_changed_by_those_who_look_after_them(call: Caller) -> None:
    chief = Caller(make_user(Role.ADMINISTRATOR))
    asked = {"code": "NORTH", "name": "North", "time_zone": "Europe/Berlin"}
    chief("POST", "sites/", {**asked, "time_zone": "Mars"})
    assert chief.status == 400
    made = chief("POST", "sites/", asked)
    assert (chief.status, made["time_zone"]) == (201, "Europe/Berlin")
    assert chief("PATCH", f"sites/{made['id']}/", {"name": "North wing"})["name"] == "North wing"
    call("POST", "sites/", asked)
    assert call.status == 403
    sender = {"name": "RIS", "sending_application": "RIS", "sending_facility": "N", "site": "NORTH"}
    interface = call("POST", "interfaces/", sender)
    assert (call.status, interface["site"]) == (201, "NORTH")
    call("POST", "interfaces/", sender)
    assert call.status == 400, "one sender is one interface"
    assert call("PATCH", f"interfaces/{interface['id']}/", {"enabled": False})["enabled"] is False
    refused = call("PATCH", f"interfaces/{interface['id']}/", {"sending_application": "OTHER"})
    assert (call.status, list(refused["errors"])) == (400, ["sending_application"])


def test_the_description_for_machines_is_valid_and_without_a_warning(tmp_path: Path) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml"))
    assert "/api/v1/exceptions/{id}/match/" in (tmp_path / "schema.yaml").read_text()


def test_what_was_seen_is_recorded(call: Caller) -> None:
    patient = make_patient()
    call("GET", f"patients/{patient.pk}/")
    audit.recorder.flush()
    event = AccessEvent.objects.latest("pk")
    assert (event.action, event.subject_type, event.subject_id) == ("patients.view", "patient", str(patient.pk))


def test_messages_are_listed_without_their_text(call: Caller) -> None:
    site = make_site()
    interface = HL7Application.objects.create(name="RIS", sending_application="RIS", site=site)
    InboundMessage.objects.create(
        interface=interface, site=site, control_id="C1", message_type="ORM^O01", raw=b"MSH|SECRET", digest="d",
        received_at=timezone.now(), status=InboundStatus.QUARANTINED, ack_code="AA", error="PID-3: empty", sequence=1,
    )  # fmt: skip
    [found] = call("GET", "messages/?control_id=C1&status=quarantined&type=ORM^O01&direction=in")["results"]
    assert (found["direction"], found["ack_code"], found["error"]) == ("in", "AA", "PID-3: empty")
    assert "SECRET" not in str(found)
    assert call("GET", "messages/?direction=out")["count"] == 0


def test_a_quarantined_message_is_replayed_with_a_reason(call: Caller) -> None:
    site = make_site()
    interface = HL7Application.objects.create(name="RIS", sending_application="RIS", site=site)
    message = InboundMessage.objects.create(
        interface=interface, site=site, raw=b"", digest="d", received_at=timezone.now(),
        status=InboundStatus.QUARANTINED, sequence=1,
    )  # fmt: skip
    call("POST", f"messages/{message.pk}/replay/", {})
    assert call.status == 400
    answer = call("POST", f"messages/{message.pk}/replay/", {"reason": "The mapping is mended"})
    assert (call.status, answer["status"]) == (200, "RECEIVED")
    call("POST", f"messages/{message.pk}/replay/", {"reason": "again"})
    assert call.status == 409


def test_an_administrator_lets_people_in_and_a_weak_password_is_refused() -> None:
    call = Caller(make_user(Role.ADMINISTRATOR))
    asked = {"username": "mara", "password": "correct horse battery staple", "role": "manager", "site": "MAIN"}
    make_site()
    call("POST", "users/", {**asked, "password": "12345"})
    assert call.status == 400
    made = call("POST", "users/", asked)
    assert (call.status, made["roles"]) == (201, [{"role": "manager", "site": "MAIN"}])
    assert "password" not in made
    call("POST", "users/", asked)
    assert call.status == 400


def test_an_administrator_of_one_site_lets_nobody_in_elsewhere() -> None:
    north, _ = make_site("NORTH"), make_site("SOUTH")
    call = Caller(make_user(Role.ADMINISTRATOR, site=north))
    asked = {"username": "eve", "password": "correct horse battery staple", "role": "administrator"}
    for site in (None, "SOUTH"):
        call("POST", "users/", {**asked, "site": site})
        assert call.status == 403
    assert not User.objects.filter(username="eve").exists()
    call("POST", "users/", {**asked, "site": "NORTH"})
    assert call.status == 201
    assert RoleAssignment.objects.get(user__username="eve").site == north


def test_a_key_is_shown_once_and_ends_when_it_is_deleted(call: Caller) -> None:
    key = call("POST", "tokens/", {"name": "pager", "scopes": ["read"], "days": 1})["key"]
    by_key = Client(headers={"Authorization": f"Token {key}"})
    assert by_key.get("/api/v1/sites/").status_code == 200
    [token] = [each for each in call("GET", "tokens/")["results"] if each["name"] == "pager"]
    assert key not in str(token)
    call("DELETE", f"tokens/{token['id']}/")
    assert call.status == 204
    assert by_key.get("/api/v1/sites/").status_code == 401


def test_an_application_entity_is_added_and_changed(call: Caller) -> None:
    make_site()
    asked = {"ae_title": "CT_NEW", "device": "CT scanner 2", "site": "MAIN", "host": "10.1.2.3"}
    made = call("POST", "application-entities/", asked)
    assert (call.status, made["kind"]) == (201, "modality")
    assert call("PATCH", f"application-entities/{made['id']}/", {"enabled": False})["enabled"] is False
    call("POST", "application-entities/", asked)
    assert call.status == 400
    call("POST", "application-entities/", {**asked, "ae_title": "SEVENTEEN_LETTERS"})
    assert call.status == 400


def test_the_chain_over_the_audit_is_verified() -> None:
    call = Caller(make_user(Role.AUDITOR))
    assert call("GET", "audit/verify/") == {"holds": True, "first_break": None}
    before = timezone.now() - dt.timedelta(days=1)
    assert call("GET", f"audit/?until={before:%Y-%m-%dT%H:%M:%SZ}")["count"] == 0


def test_the_description_of_the_api_is_open_to_those_who_may_come_in(client: Client) -> None:
    assert client.get("/api/schema/").status_code == 401
    client.force_login(make_user(Role.READER))
    text = client.get("/api/schema/").content.decode()
    assert text.startswith("openapi: 3")
    assert "/api/v1/rule-sets/{id}/publish/" in text


def test_a_name_that_many_have_is_not_counted_to_the_end(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SMITH^A", "SMITH^B", "SMITHERS^C", "JONES^D"):
        make_patient(name=name)
    assert call("GET", "patients/?name=smith")["count"] == 3
    monkeypatch.setattr(pagination, "EXACT_TO", 2)
    monkeypatch.setattr(search, "FEW", 2)
    with CaptureQueriesContext(connection) as asked:
        page = call("GET", "patients/?name=smith&page_size=2")
    assert not any("COUNT(" in each["sql"] for each in asked)
    assert (page["count"], page["count_is_estimate"], len(page["results"])) == (2, True, 2)
    rest = call("GET", page["next"].partition("/api/v1/")[2])["results"]
    assert {each["name"] for each in (*page["results"], *rest)} == {"SMITH^A", "SMITH^B", "SMITHERS^C"}
    assert call("GET", "patients/?name=jones")["count"] == 1
    # Two words that begin so, and one person.
    for number, name in enumerate(("JOHNSON^JOHN", "JOHNSTON^JOHNNY"), 1):
        make_patient(name=name)
        page = call("GET", "patients/?name=john")
        assert (page["count"], page.get("count_is_estimate")) == (number, None)
