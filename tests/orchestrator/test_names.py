"""Names whose words are missing are told and mended."""

from typing import Any

import pytest
from django.core.management import call_command

from orchestrator import selectors
from orchestrator.models import ClaimWord, IdentityClaim, Patient, PatientWord
from orchestrator.permissions import Viewer
from orchestrator.services import names
from orchestrator.services.diagnostics import Level, check_names
from tests.factories import make_patient, make_study, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def lost() -> Patient:
    """Somebody whose words, and those of whose images, were never written; and a name of no letters, which has none."""
    patient = make_patient("P1", name="Müller^Anna")
    claim = make_study(patient_name="Smith^John").claims.get()
    IdentityClaim.objects.filter(pk=claim.pk).update(patient_name="Smith^John")
    make_patient("P2", name="^^")
    PatientWord.objects.all().delete()
    ClaimWord.objects.all().delete()
    return patient


def test_the_doctor_tells_of_names_that_no_search_finds(lost: Patient) -> None:
    assert [finding.level for finding in check_names()] == [Level.WARN]
    assert names.mend() == 2
    assert [finding.level for finding in check_names()] == [Level.OK]


def test_the_command_tells_and_mends_and_what_was_lost_is_found(lost: Patient, capsys: Any) -> None:
    viewer = Viewer.of(make_user())
    with pytest.raises(SystemExit):
        call_command("names", no_color=True)
    assert "2 names" in capsys.readouterr().out
    call_command("names", mend=True, no_color=True)
    assert [each.pk for each in selectors.patients(viewer, "mull")] == [lost.pk]
    assert [each.claims.get().patient_name for each in selectors.studies(viewer, "smi")] == ["Smith^John"]
    call_command("names", mend=True, no_color=True)
    assert sorted(PatientWord.objects.values_list("word", flat=True)) == ["ANNA", "MULLER"]


def test_many_are_mended_batch_by_batch(lost: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_AT_ONCE", 1)
    make_patient("P3", name="Roe^Jane")
    PatientWord.objects.all().delete()
    assert names.mend() == 3
    assert names.count_lost() == 0
