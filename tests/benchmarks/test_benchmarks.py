"""`make bench`: what its table and its file look like. How fast anything is, no test says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.goals import verdict
from benchmarks.profile import layer_of
from benchmarks.rounds import OURS, Contender, Row, compare, table
from tests.orchestrator.supervisor.environment import ROOT

PROMISED = ["name", "system", "settings", "metric", "unit", "median", "min", "max", "ratio"]


def _contender(system: str, played: list[str], *values: float) -> Contender:
    left = list(values)

    def play() -> float:
        played.append(system)
        return left.pop(0)

    return Contender(system, "as installed", play)


def test_rounds_are_interleaved_and_the_ratio_is_of_what_was_played_in_one_round() -> None:
    played: list[str] = []
    contenders = [_contender(OURS, played, 10, 30, 20), _contender("peer", played, 4, 5, 100)]
    ours, peer = compare("work", metric="throughput", unit="objects/s", contenders=contenders, rounds=3)
    assert played == [OURS, "peer"] * 3
    assert (ours.median, ours.min, ours.max, ours.ratio) == (20, 10, 30, 1)
    assert (peer.median, peer.min, peer.max, peer.ratio) == (5, 4, 100, 2.5)


def test_the_table_shows_each_ratio_beside_its_settings() -> None:
    rows = compare(
        "work", metric="throughput", unit="objects/s", rounds=1,
        contenders=[_contender(OURS, [], 10), _contender("peer", [], 4)],
    )  # fmt: skip
    head, ours, peer = table(rows).splitlines()
    assert head.split() == ["benchmark", "system", "median", "min", "max", "unit", "ours/this", "goal", "settings"]
    assert ours.split()[:2] == ["work", OURS]
    assert peer.split()[-3:] == ["2.50", "as", "installed"]


def test_the_table_says_whether_a_goal_is_met() -> None:
    def judged(name: str, system: str, median: float, ratio: float | None) -> str:
        return verdict(Row(name, system, "", "", "", median, median, median, ratio))

    assert judged("C-STORE 10 KB, 4 associations", "orthanc", 500, 0.41) == "≥ 0.4: met"
    assert judged("C-STORE 10 KB, 4 associations", "orthanc", 500, 0.39) == "≥ 0.4: missed"
    assert judged("order on the worklist, p95", OURS, 101, None) == "≤ 100: missed"
    assert judged("C-STORE 10 KB, 4 associations", OURS, 200, 1) == ""
    # A matcher that holds everything is never wrong.
    assert judged("match, right where data suffice", OURS, 99, None) == "≥ 100: missed"
    assert verdict(Row("forward, lost responses", OURS, "", "count", "objects", 0, 0, 1, None)) == "≤ 0: missed"


def test_the_profile_tells_layers_apart() -> None:
    assert layer_of("~", "<built-in method posix.fsync>") == "spool"
    assert layer_of(f"{ROOT}/orchestrator/dimse/wire.py", "pdu") == "network: PDUs, sockets"
    assert layer_of("/x/site-packages/django/db/models/query.py", "get") == "database"
    assert layer_of("/x/site-packages/pydicom/dataset.py", "get") == "pydicom"


@pytest.mark.peer("dcmtk")
@pytest.mark.timeout(400)
def test_a_tiny_run_measures_ours_beside_the_peer_and_writes_the_promised_file(tmp_path: Path) -> None:
    output = tmp_path / "latest.json"
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--tiny", "--output", str(output), "--only", "ingest", "worklist",
         "hl7", "forward", "match"],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=380,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    rows = json.loads(output.read_text())
    assert all(list(row) == PROMISED for row in rows)
    measured = {(row["name"], row["system"]) for row in rows}
    assert {
        ("C-STORE 10 KB, 4 associations", "fiducial"), ("C-STORE 10 KB, 4 associations", "storescp"),
        ("worklist, 60 steps, 20 found", "fiducial"), ("worklist, 60 steps, 20 found", "wlmscpfs"),
        ("worklist, 60 steps, 20 found", "fiducial at the fewest steps"),
        ("HL7 acknowledged, 32 connections", "fiducial"),
        ("HL7 acknowledged, 32 connections", "bare insert, our table"),
        ("delivery of a study, 10 KB objects", "fiducial"),
        ("forward 10 KB, 1 association", "fiducial"), ("forward 10 KB, 1 association", "storescu"),
        ("forward, lost responses", "fiducial"), ("match, right", "fiducial"),
    } <= measured  # fmt: skip
    assert all(0 < row["min"] <= row["median"] <= row["max"] for row in rows if row["metric"] != "count")
    assert sum(row["median"] for row in rows if row["name"] in ("match, right", "match, held", "match, wrong")) == 20
    # Its work folder, with all that was received, is gone.
    assert not list((ROOT / "benchmarks" / "results").glob("work-*"))
