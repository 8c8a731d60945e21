"""A job outlives its worker: `kill -9` in the middle, and the next worker brings it to its end."""

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.orchestrator.supervisor.environment import ROOT, isolated
from tests.peers import wait_for


def _progress(folder: Path) -> tuple[str, int, int]:
    with sqlite3.connect(f"file:{folder}/fiducial.sqlite3?mode=ro", uri=True) as database:
        status, done, attempts = database.execute("SELECT status, done, attempts FROM orchestrator_job").fetchone()
    return status, done, attempts


def test_a_job_whose_worker_is_killed_is_taken_up_and_ends(migrated: Path, tmp_path: Path) -> None:
    environment = {**isolated(tmp_path), "DJANGO_SETTINGS_MODULE": "orchestrator.settings"}
    shutil.copy(migrated, tmp_path / "fiducial.sqlite3")

    @contextlib.contextmanager
    def worker(number: str) -> Iterator["subprocess.Popen[str]"]:
        argv = [sys.executable, "-m", "tests.orchestrator.job_worker", str(tmp_path), number]
        with subprocess.Popen(argv, env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE) as process:
            yield process
            process.kill()

    (tmp_path / "gate1").touch()
    with worker("0") as first:
        assert first.stdout is not None
        number = first.stdout.readline().strip()
        assert number, "the worker did not start"
        wait_for(lambda: _progress(tmp_path) == ("RUNNING", 1, 1), what="the first item", seconds=150)
    assert first.returncode == -signal.SIGKILL
    assert _progress(tmp_path) == ("RUNNING", 1, 1), "nobody tells that the worker is gone"
    for item in (2, 3):
        (tmp_path / f"gate{item}").touch()
    with worker(number) as second:
        assert second.wait(120) == 0
    assert _progress(tmp_path) == ("DONE", 3, 2)
    # What had its result was not done again.
    assert (tmp_path / "done").read_text().split() == ["1", "2", "3"]
