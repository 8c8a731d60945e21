"""A test whose peer is missing: skipped and counted, or failed where peers are required."""

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_NEEDS_STRACE = """
import pytest

@pytest.mark.peer("strace")
def test_traces():
    pass
"""


def _run(folder: Path, *, path: str, required: str) -> str:
    """pytest over one test that needs strace, with programs from `path` only; what it printed."""
    (folder / "test_traced.py").write_text(_NEEDS_STRACE)
    plugins = ["-p", "tests.peer_marks", "-p", "no:cacheprovider", "-p", "no:django"]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "-c", os.devnull, "-o", "markers=peer", str(folder)],
        cwd=_ROOT,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(_ROOT), "FIDUCIAL_REQUIRE_PEERS": required},
        check=False,
        capture_output=True,
        text=True,
    )
    return ended.stdout + ended.stderr


def test_without_its_peer_a_test_is_skipped_and_counted_by_name(tmp_path: Path) -> None:
    told = _run(tmp_path, path=str(tmp_path), required="0")
    assert "1 test skipped: strace is not installed" in told
    assert "1 skipped" in told.splitlines()[-1]


def test_where_peers_are_required_a_missing_one_fails(tmp_path: Path) -> None:
    told = _run(tmp_path, path=str(tmp_path), required="1")
    assert "FIDUCIAL_REQUIRE_PEERS=1, but strace is not installed" in told
    assert "1 error" in told.splitlines()[-1] or "1 failed" in told.splitlines()[-1]


def test_with_its_peer_a_test_runs(tmp_path: Path) -> None:
    strace = tmp_path / "bin" / "strace"
    strace.parent.mkdir()
    strace.write_text("#!/bin/sh\n")
    strace.chmod(0o755)
    assert "1 passed" in _run(tmp_path, path=str(strace.parent), required="1").splitlines()[-1]
