"""What was there before an upgrade is found, listed and counted after it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.orchestrator.supervisor.environment import ROOT
from tests.orchestrator.upgraded import schema


@pytest.fixture
def own_database() -> Iterator[str]:
    """The address of an empty database on the server of this run; empty: SQLite in the data directory."""
    server = os.environ.get("DATABASE_URL", "")
    if not server:
        yield ""
        return
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS upgraded")
        connection.execute("CREATE DATABASE upgraded")
        yield f"{server.rpartition('/')[0]}/upgraded"
        connection.execute("DROP DATABASE upgraded WITH (FORCE)")


@pytest.mark.django_db
@pytest.mark.timeout(400)
def test_an_upgrade_from_the_last_release_keeps_and_fills_what_is_there(own_database: str, tmp_path: Path) -> None:
    environment = {
        **os.environ, "DATABASE_URL": own_database, "FIDUCIAL_DATA_DIR": str(tmp_path / "data"),
        "DJANGO_SETTINGS_MODULE": "orchestrator.settings",
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-m", "tests.orchestrator.upgraded"], cwd=ROOT, env=environment, capture_output=True,
        text=True, check=False, timeout=390,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = json.loads(ended.stdout)
    assert found["told"] == {
        "patient_words": ["GARCIA", "JOSE", "LOPEZ"],
        "claim_words": ["ANNA", "MULLER"],
        "lost_names": 0,
        "site_of_delivery": "OLD",
        # What waits to be performed, and only that, is found by its stations and its patient's name.
        "stations": [["ELSE", "S5", "CT1"], ["OLD", "S1", "CT1"], ["OLD", "S1", "CT2"], ["OLD", "S2", ""]],
        "match_values": [[step, "patient", "GARCIA-LOPEZ^JOSE"] for step in ("S1", "S2", "S5")],
        # Events of before are counted when somebody says so; until then the doctor does.
        "kpi_advice": ["Run `manage.py kpis --rebuild`."],
        "kpi_wrong": 0,
        "tallies": [["case", "OLD", "", "", "opened", 1], ["study", "OLD", "CT", "CT1", "auto", 1]],
    }
    # The tables are those of a new installation, which are made in another way.
    new = schema()
    assert found["schema"].keys() == new.keys()
    assert {table: rows for table, rows in found["schema"].items() if rows != new[table]} == {}
