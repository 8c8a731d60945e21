"""Whoever mistypes a dotted name hears of it from `manage.py check`, and not from a study that went nowhere."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.test import override_settings

from orchestrator.celery import app

GONE = "routing.services.gone.deliver"

BOARDS: dict[str, Any] = {
    "HL7_HANDLERS": {"ADT^A01": GONE},
    "DIMSE_HANDLERS": {("C-STORE", "*"): GONE},
    "EVENT_SUBSCRIBERS": {"study.received": [GONE]},
    "FACT_SOURCES": {"x": GONE},
    "GATHERED_SUBSCRIBERS": {"x": GONE},
    "CONFIG_SECTIONS": {"x": GONE},
    "STEP_PROJECTIONS": [GONE],
    "SWEEPS": [GONE],
    "SEARCH_PROVIDERS": [GONE],
    "CASE_KINDS": [GONE],
    "CONSEQUENCES": [GONE],
    "DOCTOR_CHECKS": [GONE],
    "METRIC_SOURCES": [GONE],
    "DATED_ROWS": [GONE],
    "REBUILT_WHEN_DATED": [GONE],
    "LISTS": {"x": GONE},
    "RECENT": {"x": GONE},
    "COMMANDS": [GONE],
    "CHANGES": [GONE],
    "CELERY_BEAT_SCHEDULE": {"x": {"task": GONE, "schedule": 5.0}},
    "CELERY_TASK_ROUTES": {GONE: {"queue": "rest"}},
}


def _errors() -> list[str]:
    return [f"{found.id} {found.msg}" for found in run_checks() if str(found.id).startswith("fiducial.")]


def test_every_name_in_settings_resolves() -> None:
    assert _errors() == []


@pytest.mark.parametrize("board", BOARDS)
def test_a_name_that_does_not_resolve_is_an_error_that_names_board_and_name(board: str) -> None:
    with override_settings(**{board: BOARDS[board]}):
        [error] = _errors()
    assert error == f"fiducial.E001 {board}: '{GONE}' does not resolve."


def test_a_name_of_something_that_cannot_be_called_is_an_error() -> None:
    with override_settings(SWEEPS=["orchestrator.services.jobs.MOST_ATTEMPTS"]):
        [error] = _errors()
    assert "nothing that can be called" in error


def test_every_board_of_dotted_names_is_checked() -> None:
    def names(value: Any) -> bool:
        values = list(value.values()) if isinstance(value, dict) else value
        texts = [text for each in values for text in (each if isinstance(each, list) else [each])]
        return bool(texts) and all(
            isinstance(text, str) and re.fullmatch(r"(orchestrator|reconciliation|routing|worklists)(\.\w+)+", text)
            for text in texts
        )

    boards = {
        name for name in dir(settings) if name.isupper() and isinstance(getattr(settings, name), dict | list)
        and names(getattr(settings, name))
    }  # fmt: skip
    assert boards - set(BOARDS) == set()


def test_every_task_that_is_rung_by_name_exists() -> None:
    root = Path(settings.BASE_DIR)
    rung = {
        name
        for folder in ("orchestrator", "reconciliation", "routing", "worklists")
        for file in (root / folder).rglob("*.py")
        for name in re.findall(
            r"\"((?:orchestrator|reconciliation|routing|worklists)\.tasks\.[a-z]\w*)\"", file.read_text()
        )
    }
    app.loader.import_default_modules()
    assert "orchestrator.tasks.run_subscription" in rung
    assert rung - set(app.tasks) == set()
