"""`manage.py config`: what was written comes back as it was, also elsewhere; what does not fit changes nothing."""

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from orchestrator.models import ApplicationEntity, Device, HL7Application, Issuer, Site
from orchestrator.services.tokens import create_token
from routing.models import Destination, RuleSet, RuleSetVersion
from routing.services import destinations, rulesets
from tests.factories import make_site, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def hospital() -> None:
    """One of everything that can be configured."""
    north = make_site("NORTH", issuer="NORTH_MPI")
    north.time_zone = "Europe/Berlin"
    north.save()
    Issuer.objects.create(universal_id="1.2.840.99", universal_id_type="ISO")
    device = Device.objects.create(name="CT in room 0012", site=north)
    ApplicationEntity.objects.create(
        ae_title="CT_NORTH", device=device, host="10.1.2.3", default_issuer=north.default_issuer
    )
    HL7Application.objects.create(
        name="RIS Nörd", sending_application="RIS", sending_facility="N", site=north, default_charset="UNICODE UTF-8"
    )
    archive = destinations.create(
        name="Archive", ae_title="ARCHIVE", host="archive.example.org", port=11112, required_for_custody=True,
        site=north,
    )  # fmt: skip
    destinations.change(destination=archive, name="Main archive")
    rule = {
        "name": "all CT", "enabled": True, "when": {"all": [{"field": "modality", "op": "eq", "value": "CT"}]},
        "then": [{"action": "send", "destination": archive.pk, "priority": "normal"}],
    }  # fmt: skip
    rule_set = RuleSet.objects.get_or_create(name="default")[0]
    rulesets.save_draft(rule_set=rule_set, rules=[rule])
    rulesets.publish(rule_set_id=rule_set.pk, comment="first", user=make_user())


def _empty() -> None:
    """Another installation, with other ids."""
    RuleSet.objects.update(published=None, draft=[])
    for model in (RuleSetVersion, Destination, ApplicationEntity, HL7Application, Device):
        model.objects.all().delete()
    Site.objects.update(default_issuer=None)
    Site.objects.filter(code="NORTH").delete()
    Issuer.objects.all().delete()


def bring_in(file: Path, *words: str) -> str:
    out = io.StringIO()
    call_command("config", "import", str(file), *words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def written(folder: Path) -> dict[str, Any]:
    call_command("config", "export", str(folder / "now.yaml"))
    read: dict[str, Any] = yaml.safe_load((folder / "now.yaml").read_text())
    return read


def test_what_was_exported_comes_back_as_it_was(hospital: None, tmp_path: Path) -> None:
    before = written(tmp_path)
    file = tmp_path / "kept.yaml"
    (tmp_path / "now.yaml").rename(file)
    _empty()
    assert "Main archive" in bring_in(file)
    assert written(tmp_path) == before
    archive = Destination.objects.get()
    assert (archive.device.name, archive.required_for_custody) == ("Archive", True)
    assert RuleSet.objects.get().draft[0]["then"][0]["destination"] == archive.pk
    assert RuleSet.objects.get().published is None, "a person publishes"
    assert HL7Application.objects.get().name == "RIS Nörd"
    assert bring_in(file) == "", "the same again changes nothing"


def test_a_dry_run_says_what_would_change_and_changes_nothing(hospital: None, tmp_path: Path) -> None:
    changed = written(tmp_path)
    [modality] = [each for each in changed["application_entities"] if each["ae_title"] == "CT_NORTH"]
    modality["host"] = "10.9.9.9"
    file = tmp_path / "changed.yaml"
    file.write_text(yaml.safe_dump(changed))
    said = bring_in(file, "--dry-run")
    assert "-  host: 10.1.2.3" in said
    assert "+  host: 10.9.9.9" in said
    assert ApplicationEntity.objects.get(ae_title="CT_NORTH").host == "10.1.2.3"
    bring_in(file)
    entity = ApplicationEntity.objects.get(ae_title="CT_NORTH")
    newest: Any = entity.history.latest()
    assert (entity.host, newest.actor_name) == ("10.9.9.9", "manage.py config")
    assert newest.history_change_reason == "import of changed.yaml"
    assert entity.history.count() == 2
    assert Site.objects.get(code="NORTH").history.filter(actor_name="manage.py config").count() == 0


def test_what_a_file_does_not_name_stays(hospital: None, tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("fiducial: 1\nsites:\n- {code: SOUTH, name: South, time_zone: Europe/Berlin}\n")
    bring_in(file)
    assert set(Site.objects.values_list("code", flat=True)) >= {"NORTH", "SOUTH"}
    assert Destination.objects.exists()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("just words", "must begin with"),
        ("fiducial: 2", "must begin with"),
        ("fiducial: 1\nrules: []", "rules: there is no such section"),
        ("fiducial: 1\nsites: {}\ndevices: 7", "devices: a list is needed"),
        ("fiducial: 1\nsites: [7]", r"sites\[0\]: an object"),
        ("fiducial: 1\nsites: [{name: x}]", r"sites\[0\].code: is needed"),
        ("fiducial: 1\nsites: [{code: 0012, name: x}]", r"sites\[0\].code: text is needed"),
        ("fiducial: 1\nsites: [{code: S, name: x, time_zone: Mars}]", r"sites\[0\].time_zone: There is no time zone"),
        ("fiducial: 1\nsites: [{code: S, name: x, colour: red}]", r"sites\[0\].colour: there is no such field"),
        ("fiducial: 1\ndevices: [{name: x, site: NOWHERE}]", r"devices\[0\].site: there is no site named NOWHERE"),
        ("fiducial: 1\ndevices: [{name: x, kind: toaster, site: MAIN}]", r"devices\[0\].kind: .*not a valid choice"),
        (
            "fiducial: 1\ndevices: [{name: x, site: MAIN}]\napplication_entities: [{ae_title: 'A\\B', device: x}]",
            r"application_entities\[0\].ae_title: An AE title",
        ),
        ("fiducial: 1\ndestinations: [{name: x, device: none}]", r"destinations\[0\].device: there is no device"),
        ("fiducial: 1\nrule_sets: [{name: default, draft: [7]}]", r"rule_sets\[0\].draft: a list of rules"),
        (
            "fiducial: 1\nrule_sets: [{name: default, draft: [{name: x, when: {all: []}, "
            "then: [{action: send, destination: Mars}]}]}]",
            r"rule_sets\[0\].draft\[0\].then\[0\].destination: there is no destination Mars",
        ),
        ("fiducial: 1\nrule_sets: [{name: default, draft: [{name: x}]}]", r"rule_sets\[0\].rules\[0\].when"),
        ("a: [", "is not YAML"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place_and_nothing_is_changed(
    text: str, complaint: str, tmp_path: Path
) -> None:
    make_site()
    file = tmp_path / "wrong.yaml"
    good = "sites:\n- {code: GOOD, name: Good}\n"
    file.write_text(text if "sites" in text else f"{text}\n{good}" if text.startswith("fiducial") else text)
    with pytest.raises(CommandError, match=complaint):
        bring_in(file)
    assert not Site.objects.filter(code="GOOD").exists()


def test_nothing_secret_is_written(hospital: None, tmp_path: Path) -> None:
    user = make_user(name="script")
    user.set_password("correct horse battery staple")
    user.save()
    key = create_token(user=user, name="ci")
    written(tmp_path)
    text = (tmp_path / "now.yaml").read_text()
    assert key not in text
    assert user.password not in text
    assert "script" not in text
