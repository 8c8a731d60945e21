"""The supervisor over real, small processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.supervisor.keeper import Patience
from tests.peers import wait_for

_CHILD = Path(__file__).with_name("children.py")
_ROOT = Path(__file__).parents[3]


class Stage:
    """A supervisor in a process of its own, and the diary of its programs."""

    def __init__(self, folder: Path, *, forked: bool) -> None:
        self.folder, self.diary, self.log = folder, folder / "diary", folder / "log"
        self._forked = forked
        self._plan: list[dict[str, Any]] = []
        self.process: subprocess.Popen[bytes] | None = None

    def program(self, name: str, *traits: str, wave: int = 0, grace: float = 5.0) -> None:
        argv = [sys.executable, str(_CHILD), name, str(self.diary), *traits]
        self._plan.append({"name": name, "argv": argv, "wave": wave, "grace": grace, "notifies": "notify" in traits})

    def start(self, **patience: float) -> None:
        plan = {
            "programs": self._plan,
            "forked": self._forked,
            "patience": {"first_pause": 0.05, "look_every": 0.01, **patience},
        }
        (self.folder / "plan.json").write_text(json.dumps(plan))
        argv = [sys.executable, "-m", "tests.orchestrator.supervisor.runner", str(self.folder / "plan.json")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(argv, cwd=_ROOT, stdout=log, stderr=log)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def finish(self) -> int:
        assert self.process is not None
        return self.process.wait(30)

    def entries(self) -> list[str]:
        return self.diary.read_text().splitlines() if self.diary.exists() else []

    def pids(self, name: str) -> list[int]:
        return [int(entry.split()[-1]) for entry in self.entries() if entry.startswith(f"{name} started")]

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def says(self, text: str) -> Any:
        """Wait for a line that holds `text`."""
        return wait_for(lambda: [line for line in self.lines() if text in line], what=text)


# However a program was started, it is watched, ended and started again in the same way.
either_way = pytest.mark.parametrize("stage", [False, True], ids=["by itself", "forked"], indirect=True)


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    made = Stage(tmp_path, forked=getattr(request, "param", False))
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.terminate()
        made.process.wait(30)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def reaper_of(stage: Stage) -> int:
    assert stage.process is not None
    found = subprocess.run(
        ["pgrep", "-P", str(stage.process.pid), "-f", "reaper.py"], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


@either_way
def test_waves_start_in_order_when_ready_and_stop_in_reverse(stage: Stage) -> None:
    stage.program("door", "notify", wave=2)
    stage.program("broker", "notify", wave=0)
    stage.program("worker", "notify", wave=1)
    stage.start()
    stage.says("all up")
    stage.send(signal.SIGTERM)
    assert stage.finish() == 0
    order = [" ".join(entry.split()[:2]) for entry in stage.entries()]
    assert order == [
        "broker started",
        "worker started",
        "door started",
        "door stopped",
        "worker stopped",
        "broker stopped",
    ]


def test_each_line_carries_the_name_of_its_process(stage: Stage) -> None:
    stage.program("web")
    stage.program("worker-hl7")
    stage.start()
    stage.says("worker-hl7 | worker-hl7 works")
    stage.says("web        | web works")


@either_way
def test_a_program_that_dies_is_started_again_after_growing_pauses(stage: Stage) -> None:
    stage.program("brief", "notify", "brief")
    stage.start(first_pause=0.1)
    stage.says("again in 0.4 s")
    pauses = [line.split()[-2] for line in stage.lines() if "starting it again" in line]
    assert pauses[:3] == ["0.1", "0.2", "0.4"]
    assert any("brief ended (exit status 3)" in line for line in stage.lines())


def test_pauses_grow_to_a_limit() -> None:
    patience = Patience(first_pause=0.5, longest_pause=30)
    assert [patience.pause(n) for n in (1, 2, 3, 7, 1000)] == [0.5, 1.0, 2.0, 30, 30]


def test_pauses_are_short_again_after_a_healthy_run(stage: Stage) -> None:
    stage.program("brief", "notify", "brief")
    stage.start(healthy_after=0.0)
    wait_for(lambda: len(stage.pids("brief")) >= 4, what="four runs")
    pauses = {line.split()[-2] for line in stage.lines() if "starting it again" in line}
    assert pauses == {"0.05"}


@either_way
def test_kill_9_of_the_supervisor_leaves_no_process_behind(stage: Stage) -> None:
    stage.program("polite", "notify")
    stage.program("stubborn", "notify", "stubborn")
    stage.program("family", "notify", "parent")
    stage.start()
    stage.says("all up")
    wait_for(lambda: stage.pids("family-child"), what="the grandchild")
    pids = [stage.pids(name)[0] for name in ("polite", "stubborn", "family", "family-child")] + [reaper_of(stage)]
    assert all(map(alive, pids))
    stage.send(signal.SIGKILL)
    wait_for(lambda: not any(map(alive, pids)), what="the end of all processes")
    # Those that listen were asked first.
    assert "polite stopped" in stage.entries()


def test_kill_9_of_the_reaper_and_then_of_the_supervisor_leaves_no_process_behind(stage: Stage) -> None:
    stage.program("family", "notify", "parent")
    stage.start()
    stage.says("all up")
    wait_for(lambda: stage.pids("family-child"), what="the grandchild")
    os.kill(reaper_of(stage), signal.SIGKILL)
    stage.says("the reaper was killed; started it again")
    pids = [stage.pids("family")[0], stage.pids("family-child")[0], reaper_of(stage)]
    stage.send(signal.SIGKILL)
    wait_for(lambda: not any(map(alive, pids)), what="the end of all processes")


@either_way
def test_kill_9_of_a_program_ends_its_own_children_before_it_starts_again(stage: Stage) -> None:
    stage.program("family", "notify", "parent")
    stage.start()
    stage.says("all up")
    wait_for(lambda: stage.pids("family-child"), what="the grandchild")
    first, orphan = stage.pids("family")[0], stage.pids("family-child")[0]
    os.kill(first, signal.SIGKILL)
    stage.says("family is ready again")
    assert not alive(orphan)
    assert any("family ended (killed by SIGKILL)" in line for line in stage.lines())
    assert len(stage.pids("family")) == 2


@either_way
def test_a_program_that_ignores_sigterm_is_killed_after_its_grace(stage: Stage) -> None:
    stage.program("stubborn", "notify", "stubborn", grace=0.2)
    stage.start()
    stage.says("all up")
    stage.send(signal.SIGTERM)
    assert stage.finish() == 0
    assert not alive(stage.pids("stubborn")[0])


def test_a_second_signal_ends_the_patience(stage: Stage) -> None:
    stage.program("stubborn", "notify", "stubborn", grace=600)
    stage.start()
    stage.says("all up")
    stage.send(signal.SIGINT)
    stage.says("stopping stubborn")
    asked = time.monotonic()

    def impatient() -> bool:
        assert stage.process is not None
        # What make passes on comes within a second of the first and is the same signal.
        if stage.process.poll() is None and time.monotonic() - asked > 1.1:
            stage.send(signal.SIGINT)
        return stage.process.poll() is not None

    wait_for(impatient, what="the end")
    assert not alive(stage.pids("stubborn")[0])


@either_way
def test_a_program_that_cannot_start_ends_the_run_with_one_line(stage: Stage) -> None:
    stage.program("broker", "notify")
    stage.program("brief", "brief", wave=1)
    # It waits for a readiness that never comes.
    stage._plan[-1]["notifies"] = True
    stage.start()
    assert stage.finish() == 1
    assert stage.lines()[-1] == "fiducial | brief could not start (exit status 3): the disk is on fire"
    assert stage.entries()[-1] == "broker stopped"


def test_a_program_that_does_not_become_ready_in_time_ends_the_run(stage: Stage) -> None:
    stage.program("slow")
    stage._plan[-1]["notifies"] = True
    stage.start(ready_within=0.3)
    assert stage.finish() == 1
    assert "slow could not start (not ready within 0.3 s)" in stage.lines()[-1]
    assert not alive(stage.pids("slow")[0])


def test_a_second_copy_is_refused_and_the_first_goes_on(stage: Stage) -> None:
    stage.program("web", "notify")
    stage.start()
    stage.says("all up")
    assert stage.process is not None
    argv = [sys.executable, "-m", "tests.orchestrator.supervisor.runner", str(stage.folder / "plan.json")]
    second = subprocess.run(argv, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert f"Fiducial is already running on {stage.folder} (pid {stage.process.pid})" in second.stderr
    assert alive(stage.pids("web")[0])


def test_a_new_copy_waits_for_what_a_killed_one_left_behind(stage: Stage) -> None:
    stage.program("stubborn", "notify", "stubborn")
    stage.start()
    stage.says("all up")
    old = stage.pids("stubborn")[0]
    stage.send(signal.SIGKILL)
    stage.finish()
    stage.start()
    stage.says("all up")
    assert not alive(old)
    assert len(stage.pids("stubborn")) == 2
