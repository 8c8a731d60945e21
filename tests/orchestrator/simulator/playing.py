"""A run of the hospital against the stand-in, as short as it can be."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.simulator import ward
from orchestrator.simulator.planner import Habits
from orchestrator.simulator.ward import Hospital, Programme, Targets

PROGRAMME = Programme(patients=6, rate=None, seed=11, once=True, patience=20)


def run(targets: Targets, programme: Programme = PROGRAMME, lines: list[str] | None = None) -> dict[str, Any]:
    lines = [] if lines is None else lines
    return Hospital(targets, programme, threading.Event(), lines.append).run(None)


def only(fault: str, **more: Any) -> Programme:
    return replace(PROGRAMME, faults=1, fault_weights={fault: 1.0}, **more)


def always(monkeypatch: pytest.MonkeyPatch, **habits: float) -> None:
    """Every exam takes this turn."""
    never = dict.fromkeys(vars(Habits()), 0.0)
    monkeypatch.setattr(ward, "Habits", lambda **_: Habits(**{**never, **habits}))
