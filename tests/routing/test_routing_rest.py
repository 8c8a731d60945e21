"""The REST API of routing: rule sets, destinations, deliveries, sending by hand."""

from pathlib import Path

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from orchestrator import audit
from orchestrator.models import AccessEvent, Instance, Role, Series, Study
from orchestrator.states import DeliveryStatus, Identity, MatchedBy
from routing.models import Delivery, Destination, RuleSet
from routing.services import destinations
from tests.caller import Caller
from tests.factories import make_order, make_site, make_study, make_user
from tests.peers import free_port
from tests.routing.ward import image

pytestmark = pytest.mark.django_db


@pytest.fixture
def call() -> Caller:
    make_site()
    return Caller(make_user(Role.PACS_ADMINISTRATOR))


@pytest.fixture
def archive() -> Destination:
    make_site()
    return destinations.create(name="Archive", ae_title="ARCHIVE", host="127.0.0.1", port=free_port())


@pytest.fixture
def default() -> RuleSet:
    return RuleSet.objects.get_or_create(name="default")[0]


def rule(archive: Destination, name: str = "CT to the archive", modality: str = "CT") -> dict[str, object]:
    return {
        "name": name,
        "enabled": True,
        "when": {"all": [{"field": "modality", "op": "eq", "value": modality}]},
        "then": [{"action": "send", "destination": archive.pk, "priority": "normal"}],
    }


def test_a_destination_is_made_changed_paused_and_resumed(call: Caller) -> None:
    asked = {"name": "Archive", "kind": "dicom", "ae_title": "ARCHIVE", "host": "10.0.0.9", "port": 104}
    made = call("POST", "destinations/", {**asked, "required_for_custody": True})
    assert (call.status, made["paused"], made["required_for_custody"]) == (201, False, True)
    path = f"destinations/{made['id']}/"
    assert call("PATCH", path, {"port": 11112})["port"] == 11112
    call("POST", f"{path}pause/", {})
    assert call.status == 400, "a pause needs its reason"
    assert call("POST", f"{path}pause/", {"reason": "Moves tonight"})["paused"] is True
    assert call("POST", f"{path}resume/", {"reason": "Moved"})["paused"] is False
    reasons = Destination.history.filter(id=made["id"]).values_list("history_change_reason", flat=True)
    assert set(reasons) >= {"Moves tonight", "Moved"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("ae_title", "SEVENTEEN_LETTERS"), ("ae_title", "A\\B"), ("host", "http://archive"), ("port", 70000), ("port", 0)],
)
def test_a_destination_that_cannot_be_is_refused_at_its_field(call: Caller, field: str, value: object) -> None:
    asked = {"name": "Archive", "ae_title": "ARCHIVE", "host": "10.0.0.9", "port": 104, field: value}
    answer = call("POST", "destinations/", asked)
    assert call.status == 400
    assert field in answer["errors"]


def test_two_destinations_have_two_names(call: Caller, archive: Destination) -> None:
    asked = {"name": "Archive", "ae_title": "OTHER", "host": "10.0.0.9", "port": 104}
    assert "name" in call("POST", "destinations/", asked)["errors"]


def test_an_echo_to_a_dead_port_says_why(call: Caller, archive: Destination) -> None:
    answer = call("POST", f"destinations/{archive.pk}/echo/")
    assert answer["ok"] is False
    assert "could not be reached" in answer["error"]


def test_a_new_system_has_an_empty_set_named_default(call: Caller) -> None:
    [found] = call("GET", "rule-sets/")["results"]
    assert (found["name"], found["draft"], found["published_version"]) == ("default", [], None)


def test_fields_and_operators_of_conditions_are_listed(call: Caller) -> None:
    fields = {each["field"]: each for each in call("GET", "rule-sets/fields/")}
    assert fields["modality"]["type"] == "text"
    assert {"eq", "in"} <= set(fields["modality"]["operators"])


def test_a_draft_is_published_as_versions_and_rolled_back(call: Caller, default: RuleSet, archive: Destination) -> None:
    path = f"rule-sets/{default.pk}/"
    first, second = rule(archive), rule(archive, modality="MR")
    assert call("PUT", f"{path}draft/", {"rules": [first]})["draft"] == [first]
    assert call("POST", f"{path}publish/", {"comment": "CT"}) == {"version": 1}
    call("PUT", f"{path}draft/", {"rules": [second, rule(archive, "more")]})
    assert call("POST", f"{path}publish/", {"comment": "MR"}) == {"version": 2}
    difference = call("GET", f"{path}versions/2/diff/?with=1")
    assert [each["name"] for each in difference["added"]] == ["more"]
    assert difference["changed"] == [{"before": first, "after": second}]
    assert call("POST", f"{path}rollback/", {"version": 1, "comment": "MR was wrong"}) == {"version": 3}
    newest, *_ = call("GET", f"{path}versions/")
    assert (newest["version"], newest["rules"], newest["rolled_back_to"]) == (3, [first], 1)
    call("POST", f"{path}rollback/", {"version": 9, "comment": "?"})
    assert call.status == 404


def test_a_draft_that_cannot_be_evaluated_names_the_place(call: Caller, default: RuleSet, archive: Destination) -> None:
    wrong = {**rule(archive), "when": {"all": [{"field": "colour", "op": "eq", "value": "red"}]}}
    answer = call("PUT", f"rule-sets/{default.pk}/draft/", {"rules": [wrong]})
    assert call.status == 400
    assert "rules[0].when.all[0]" in answer["errors"]
    call("POST", f"rule-sets/{default.pk}/publish/", {"comment": " "})
    assert call.status == 400


def test_why_a_study_goes_where_it_goes(call: Caller, default: RuleSet, archive: Destination) -> None:
    study = make_study(make_order())
    asked = {"study_instance_uid": study.study_instance_uid}
    path = f"rule-sets/{default.pk}/"
    call("POST", f"{path}evaluate/", asked)
    assert call.status == 409, "nothing is published yet"
    call("PUT", f"{path}draft/", {"rules": [rule(archive)]})
    call("POST", f"{path}publish/", {"comment": "CT"})
    [plan] = call("POST", f"{path}evaluate/", asked)
    assert plan["sends"] == [{"destination": archive.pk, "priority": "normal", "rule": "CT to the archive"}]
    assert plan["reasons"]["CT to the archive"]["children"][0]["text"] == "modality is CT (it is CT)"
    audit.recorder.finish()
    seen = AccessEvent.objects.latest("pk")
    assert (seen.action, seen.subject_id) == ("studies.view", str(study.pk)), "what a reason tells is of a patient"
    assert not Delivery.objects.exists()


def test_why_a_file_would_go_where_it_goes(
    call: Caller, default: RuleSet, archive: Destination, tmp_path: Path
) -> None:
    call("PUT", f"rule-sets/{default.pk}/draft/", {"rules": [rule(archive)]})
    ds = image(make_order())
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(tmp_path / "object.dcm", enforce_file_format=True)
    path = f"rule-sets/{default.pk}/evaluate/"
    [plan] = call.upload(path, (tmp_path / "object.dcm").read_bytes(), draft="true")
    assert (plan["claim"], plan["sends"][0]["destination"]) == (None, archive.pk)
    call.upload(path, b"<script>" * 1000, draft="true")
    assert call.status == 400
    call("POST", path, {"draft": True})
    assert call.status == 400, "neither a study nor a file"
    assert not Study.objects.exists()


def test_a_person_sends_one_series_and_only_one_that_there_is(call: Caller, archive: Destination) -> None:
    uid = matched(call)
    study = Study.objects.get(study_instance_uid=uid)
    claim = study.claims.get()
    other = Series.objects.create(study=study, series_instance_uid="2.25.77", modality="CT")
    first = claim.instances.get()
    Instance.objects.create(
        study=study, series=other, claim=claim, sop_instance_uid="2.25.78", sop_class_uid=first.sop_class_uid,
        transfer_syntax_uid=first.transfer_syntax_uid, spool_key="test/78", size=1, digest="78",
        received_at=first.received_at,
    )  # fmt: skip
    asked = {"destinations": [archive.pk], "reason": "Only these", "series": ["2.25.77"]}
    [sent] = call("POST", f"studies/{uid}/send/", asked)
    assert sent["instances"]["total"] == 1
    assert Delivery.objects.get().instances.get().instance.series == other
    call("POST", f"studies/{uid}/send/", {**asked, "series": ["2.25.79"]})
    assert call.status == 400
    study.claims.update(identity=Identity.HELD)
    call("POST", f"studies/{uid}/send/", asked)
    assert call.status == 409, "what is held does not leave"


def matched(call: Caller) -> str:
    order = make_order()
    study = make_study(order, identity=Identity.MATCHED, matched_by=MatchedBy.AUTO, matched_patient=order.patient)
    study.claims.update(order=order)
    return study.study_instance_uid


def test_a_person_sends_a_study_and_once_is_enough(call: Caller, archive: Destination) -> None:
    uid = matched(call)
    asked = {"destinations": [archive.pk], "reason": "For the tumour board"}
    [sent] = call("POST", f"studies/{uid}/send/", asked)
    assert (sent["destination"]["name"], sent["rule"], sent["status"]) == ("Archive", "", "QUEUED")
    assert sent["instances"] == {"total": 1, "sent": 0, "committed": 0, "failed": 0}
    assert [each["id"] for each in call("POST", f"studies/{uid}/send/", asked)] == [sent["id"]]
    [listed] = call("GET", f"deliveries/?study_instance_uid={uid}&status=queued&destination={archive.pk}")["results"]
    assert listed == sent


def test_a_delivery_is_canceled_and_tried_again(call: Caller, archive: Destination) -> None:
    uid = matched(call)
    [sent] = call("POST", f"studies/{uid}/send/", {"destinations": [archive.pk], "reason": "Second opinion"})
    path = f"deliveries/{sent['id']}/"
    assert call("POST", f"{path}cancel/", {"reason": "Not needed"})["status"] == DeliveryStatus.CANCELED
    assert call("POST", f"{path}retry/", {"reason": "Needed after all"})["status"] == DeliveryStatus.RETRYING


def test_a_person_of_another_site_neither_sends_nor_stops(call: Caller, archive: Destination) -> None:
    uid = matched(call)
    [sent] = call("POST", f"studies/{uid}/send/", {"destinations": [archive.pk], "reason": "Second opinion"})
    there = Caller(make_user(Role.PACS_ADMINISTRATOR, site=make_site("SOUTH")))
    for path in (f"studies/{uid}/send/", f"deliveries/{sent['id']}/cancel/", f"deliveries/{sent['id']}/retry/"):
        there("POST", path, {"destinations": [archive.pk], "reason": "mine"})
        assert there.status == 404, path
    assert Delivery.objects.get().status == DeliveryStatus.QUEUED


def test_who_looks_after_one_site_makes_and_changes_destinations_of_that_site_only(archive: Destination) -> None:
    south = make_site("SOUTH")
    there = Caller(make_user(Role.PACS_ADMINISTRATOR, site=south))
    asked = {"name": "Southern", "ae_title": "SOUTHERN", "host": "10.0.0.9", "port": 104}
    made = there("POST", "destinations/", asked)
    assert (there.status, made["site"]) == (201, "SOUTH"), "left out, it is the only one of the caller"
    assert there("PATCH", f"destinations/{made['id']}/", {"port": 11112})["port"] == 11112
    there("POST", "destinations/", {**asked, "name": "Northern", "site": "MAIN"})
    assert there.status == 403
    # The device that this AE title speaks from stands elsewhere.
    there("POST", "destinations/", {**asked, "name": "Twin", "ae_title": "ARCHIVE", "host": "127.0.0.1",
                                    "port": archive.port})  # fmt: skip
    assert there.status == 403
    assert not Destination.objects.filter(name__in=["Northern", "Twin"]).exists()
    there("PATCH", f"destinations/{archive.pk}/", {"host": "10.6.6.6"})
    assert there.status == 403
    there("POST", f"destinations/{archive.pk}/pause/", {"reason": "mine"})
    assert there.status == 403
    archive.refresh_from_db()
    assert (archive.host, archive.paused) == ("127.0.0.1", False)


def test_who_looks_after_several_sites_says_at_which_a_destination_stands(call: Caller) -> None:
    make_site("SOUTH")
    asked = {"name": "Southern", "ae_title": "SOUTHERN", "host": "10.0.0.9", "port": 104}
    assert "site" in call("POST", "destinations/", asked)["errors"]
    made = call("POST", "destinations/", {**asked, "site": "SOUTH"})
    assert (call.status, made["site"]) == (201, "SOUTH")
    assert "site" in call("PATCH", f"destinations/{made['id']}/", {"site": "MAIN"})["errors"]
