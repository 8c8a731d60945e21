"""`make bench`: what its table and its file look like. How fast anything is, no test says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.rounds import OURS, Contender, compare, table
from tests.orchestrator.supervisor.environment import ROOT

PROMISED = ["name", "system", "settings", "metric", "unit", "median", "min", "max", "ratio"]


def _contender(system: str, played: list[str], *values: float) -> Contender:
    left = list(values)

    def play() -> float:
        played.append(system)
        return left.pop(0)

    return Contender(system, "as installed", play)


def test_rounds_are_interleaved_and_the_ratio_compares_medians() -> None:
    played: list[str] = []
    contenders = [_contender(OURS, played, 10, 30, 20), _contender("peer", played, 4, 5, 100)]
    ours, peer = compare("work", metric="throughput", unit="objects/s", contenders=contenders, rounds=3)
    assert played == [OURS, "peer"] * 3
    assert (ours.median, ours.min, ours.max, ours.ratio) == (20, 10, 30, 1)
    assert (peer.median, peer.min, peer.max, peer.ratio) == (5, 4, 100, 4)


def test_the_table_shows_each_ratio_beside_its_settings() -> None:
    rows = compare(
        "work", metric="throughput", unit="objects/s", rounds=1,
        contenders=[_contender(OURS, [], 10), _contender("peer", [], 4)],
    )  # fmt: skip
    head, ours, peer = table(rows).splitlines()
    assert head.split() == ["benchmark", "system", "median", "min", "max", "unit", "ours/this", "settings"]
    assert ours.split()[:2] == ["work", OURS]
    assert peer.split()[-3:] == ["2.50", "as", "installed"]


@pytest.mark.peer("dcmtk")
@pytest.mark.timeout(400)
def test_a_tiny_run_measures_ours_beside_the_peer_and_writes_the_promised_file(tmp_path: Path) -> None:
    output = tmp_path / "latest.json"
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--tiny", "--only", "worklist", "forward", "--output", str(output)],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=380,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    rows = json.loads(output.read_text())
    assert all(list(row) == PROMISED for row in rows)
    assert [(row["name"].split()[0].strip(","), row["system"]) for row in rows] == [
        ("worklist", "fiducial"), ("worklist", "wlmscpfs"), ("forward", "fiducial"), ("forward", "storescu"),
    ]  # fmt: skip
    assert all(0 < row["min"] <= row["median"] <= row["max"] for row in rows)
    # Its work folder, with all that was received, is gone.
    assert not list((ROOT / "benchmarks" / "results").glob("work-*"))
