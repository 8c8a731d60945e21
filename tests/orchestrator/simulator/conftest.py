"""Nobody in these hospitals takes their time."""

import pytest

from orchestrator.simulator import course, ward


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ward, "BRISK", course.Tempo(acquisition=(0, 0), hour=0.2))
