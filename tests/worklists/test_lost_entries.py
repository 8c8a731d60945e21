"""Steps that wait and that no station finds, as after loading what an older version had dumped: told and mended."""

from typing import Any

import pytest
from django.core.management import call_command

from orchestrator.models import ScheduledProcedureStep
from orchestrator.services.diagnostics import Level
from orchestrator.states import StepStatus
from tests.worklists.ward import found, keys, schedule
from worklists.models import MatchValue, ScheduledStation
from worklists.services import lost
from worklists.services.diagnostics import check_stations

pytestmark = pytest.mark.django_db


@pytest.fixture
def steps() -> list[ScheduledProcedureStep]:
    """Of CT_NORTH, of any station, one that has started; without rows of stations."""
    steps = [schedule(), schedule(stations=()), schedule(status=StepStatus.STARTED)]
    MatchValue.objects.create(entry_id=steps[0].pk, key="station", value="CT_NORTH")
    ScheduledStation.objects.all().delete()
    return steps


def test_the_doctor_tells_of_steps_that_are_missing_at_their_stations(steps: list[ScheduledProcedureStep]) -> None:
    assert [(each.level, each.what) for each in check_stations()] == [
        (Level.FAIL, "worklist: 2 steps are missing at their stations")
    ]
    assert lost.mend() == 2
    assert [each.level for each in check_stations()] == [Level.OK]


def test_the_command_tells_and_mends_and_what_was_missing_is_found(
    steps: list[ScheduledProcedureStep], capsys: Any
) -> None:
    north = keys({"ScheduledStationAETitle": "CT_NORTH"})
    with pytest.raises(SystemExit):
        call_command("worklist", no_color=True)
    assert "2 steps" in capsys.readouterr().out
    assert found(north) == []
    call_command("worklist", mend=True, no_color=True)
    assert found(north) == [steps[0].sps_id, steps[1].sps_id]
    assert set(MatchValue.objects.values_list("key", flat=True)) == {"patient"}


def test_many_are_mended_batch_by_batch_and_others_are_left_alone(
    steps: list[ScheduledProcedureStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost, "_AT_ONCE", 1)
    whole = schedule()
    before = list(ScheduledStation.objects.values_list("pk", flat=True))
    assert lost.mend() == 2
    assert list(ScheduledStation.objects.filter(entry=whole.pk).values_list("pk", flat=True)) == before
    assert lost.count_lost() == 0
