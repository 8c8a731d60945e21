"""The hospital makes itself known to Fiducial's own REST API."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.models import ApplicationEntity, Device, HL7Application, Issuer, Site
from orchestrator.services.tokens import find_token
from orchestrator.services.users import create_hospital_token
from orchestrator.simulator.archives import Archives, introduce_others
from orchestrator.simulator.faults import FAULTS
from orchestrator.simulator.introduction import Introduction
from orchestrator.simulator.rest import Api
from orchestrator.simulator.sites import HOUSES, STATIONS
from routing.models import Destination, RuleSet
from tests.caller import Caller

pytestmark = pytest.mark.django_db


class Direct(Api):
    """The API without a socket, for the hospital of `manage.py up --simulate`."""

    def __init__(self) -> None:
        token = find_token(create_hospital_token())
        assert token is not None
        self._caller = Caller(token.user)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._caller(method, path, body)
        if self._caller.status not in (200, 201):
            raise ConnectionError(f"{method} {path}: {self._caller.status} {answer}")
        return answer


def introduction() -> Introduction:
    return Introduction(Direct(), lambda line: None)


def test_a_new_fiducial_has_the_three_houses_and_no_site_besides() -> None:
    [main] = Site.objects.all()
    introduction().houses()
    main.refresh_from_db()
    assert main.code == "NORTH"
    assert {site.code: str(site.default_issuer) for site in Site.objects.all()} == {
        house.code: house.issuer for house in HOUSES
    }
    entities = ApplicationEntity.objects.select_related("device__site")
    assert {each.ae_title: each.device.site.code for each in entities if each.ae_title != "AI_BOX"} == {
        station.ae_title: station.house.code for station in STATIONS
    }
    assert entities.get(ae_title="AI_BOX").device.kind == Device.Kind.PROCESSOR
    assert {
        (each.sending_application, each.sending_facility, each.site.code) for each in HL7Application.objects.all()
    } == {(application, house.facility, house.code) for house in HOUSES for application in (house.his, house.ris)}


def test_a_second_introduction_changes_nothing() -> None:
    def rows() -> list[object]:
        return [
            list(model._default_manager.order_by("pk").values()) for model in (Site, Issuer, HL7Application, Device)
        ]

    api = Direct()
    Introduction(api, lambda line: None).houses()
    before = rows()
    Introduction(api, lambda line: None).houses()
    assert rows() == before


def test_a_site_where_the_hospital_has_sent_before_stays_its_site() -> None:
    main = Site.objects.get()
    HL7Application.objects.create(name="HIS", sending_application="HIS", sending_facility="NORTH", site=main)
    introduction().houses()
    main.refresh_from_db()
    assert (main.code, str(main.default_issuer)) == ("MAIN", "NORTH")
    assert ApplicationEntity.objects.get(ae_title="CT_NORTH").device.site == main
    assert set(Site.objects.values_list("code", flat=True)) == {"MAIN", "SOUTH", "HARBOR"}


def test_a_site_of_somebody_else_is_left_alone() -> None:
    main = Site.objects.get()
    HL7Application.objects.create(name="RIS", sending_application="RIS", sending_facility="ELSEWHERE", site=main)
    introduction().houses()
    main.refresh_from_db()
    assert (main.code, main.default_issuer) == ("MAIN", None)
    assert Site.objects.count() == 4


def test_the_archive_gets_a_rule_where_nothing_was_ever_routed() -> None:
    api = Direct()
    hospital = Introduction(api, lambda line: None)
    hospital.houses()
    hospital.archive("ARCHIVE", 11113)
    hospital.archive("ARCHIVE", 11114)
    assert Destination.objects.get().port == 11114
    versions = RuleSet.objects.get(name="default").versions
    assert versions.count() == 1


def open_archives() -> Archives:
    """As if all three were open."""
    return Archives(lambda line: None, {"ARCHIVE": 11113, "NIGHT": 11114, "LOST": 11115})


def test_the_other_archives_get_a_rule_each_beside_the_hospitals_first() -> None:
    api = Direct()
    hospital = Introduction(api, lambda line: None)
    hospital.houses()
    hospital.archive("ARCHIVE", 11113)
    for _ in range(2):
        introduce_others(api, open_archives(), lambda line: None)
    rule_set = RuleSet.objects.get(name="default")
    assert rule_set.published is not None
    assert (rule_set.published.number, len(rule_set.published.rules)) == (2, 3)
    assert Destination.objects.count() == 3


def test_an_archive_of_somebody_elses_with_the_same_ae_title_is_left_alone() -> None:
    api = Direct()
    hospital = Introduction(api, lambda line: None)
    hospital.houses()
    theirs = {"name": "The real one", "kind": "dicom", "ae_title": "NIGHT", "host": "10.1.2.3", "port": 104}
    api.call("POST", "destinations/", {**theirs, "site": "NORTH", "required_for_custody": True})
    introduce_others(api, open_archives(), lambda line: None)
    real = Destination.objects.get(name="The real one")
    assert (real.host, real.port) == ("10.1.2.3", 104)
    assert Destination.objects.get(name="Simulated night archive").port == 11114


def test_everything_goes_to_the_main_archive_as_long_as_the_rules_in_force_say_so() -> None:
    api, archives = Direct(), open_archives()
    assert archives.all_to(api) == ""
    hospital = Introduction(api, lambda line: None)
    hospital.houses()
    hospital.archive("ARCHIVE", 11113)
    introduce_others(api, archives, lambda line: None)
    assert archives.all_to(api) == "ARCHIVE"
    elsewhere = open_archives()
    elsewhere.ports["ARCHIVE"] = 4
    assert elsewhere.all_to(api) == ""
    rule_set = RuleSet.objects.get(name="default")
    api.call("PUT", f"rule-sets/{rule_set.pk}/draft/", {"rules": rule_set.draft[1:]})
    assert archives.all_to(api) == "ARCHIVE"
    api.call("POST", f"rule-sets/{rule_set.pk}/publish/", {"comment": "Nothing to the main archive"})
    assert archives.all_to(api) == ""


@pytest.mark.parametrize("published", [False, True])
def test_rules_that_an_administrator_drafts_or_published_stay_theirs(*, published: bool) -> None:
    api = Direct()
    hospital = Introduction(api, lambda line: None)
    hospital.houses()
    hospital.archive("ARCHIVE", 11113)
    rule_set = RuleSet.objects.get(name="default")
    [rule] = rule_set.draft
    api.call("PUT", f"rule-sets/{rule_set.pk}/draft/", {"rules": [{**rule, "enabled": False}]})
    if published:
        api.call("POST", f"rule-sets/{rule_set.pk}/publish/", {"comment": "Not now"})
        api.call("PUT", f"rule-sets/{rule_set.pk}/draft/", {"rules": [rule]})
    drafted = RuleSet.objects.get(pk=rule_set.pk).draft
    introduce_others(api, open_archives(), lambda line: None)
    rule_set.refresh_from_db()
    assert rule_set.draft == drafted
    assert rule_set.versions.count() == 1 + published


def test_a_first_draft_of_an_administrators_is_not_overwritten() -> None:
    api = Direct()
    hospital = Introduction(api, lambda line: None)
    hospital.houses()
    rule_set = RuleSet.objects.get(name="default")
    theirs = {"name": "Keep all", "enabled": True, "when": {"all": []}, "then": [{"action": "keep"}]}
    RuleSet.objects.filter(pk=rule_set.pk).update(draft=[theirs])
    hospital.archive("ARCHIVE", 11113)
    rule_set.refresh_from_db()
    assert (rule_set.draft, rule_set.published) == ([theirs], None)


def test_the_documentation_says_of_every_fault_what_a_hold_means() -> None:
    text = Path("docs/simulator.md").read_text(encoding="utf-8")
    words = {"UNEXPLAINED": "not fair", "FAIR": "fair", "NEEDED": "needed"}
    for fault in FAULTS.values():
        assert f"| `{fault.name}`: {fault.label} | {words[fault.hold.name]}" in text
