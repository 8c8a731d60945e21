"""`manage.py simulate`: options, exit status, report file, clean end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command

from orchestrator.management.commands import simulate
from orchestrator.simulator.ward import Targets
from tests.orchestrator.simulator.least_sense import Known
from tests.orchestrator.simulator.stand_in import TOKEN, stand_in
from tests.peers import free_port

ROOT = Path(__file__).resolve().parents[3]


def environment(targets: Targets) -> dict[str, str]:
    return {
        "FIDUCIAL_DICOM_PORT": str(targets.dicom[1]),
        "FIDUCIAL_HL7_PORT": str(targets.hl7[1]),
        "FIDUCIAL_HTTP_PORT": str(targets.http[1]),
        "FIDUCIAL_TOKEN": TOKEN,
    }


def start(targets: Targets, data_dir: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "simulate", "--archive-port", "0", *options],
        cwd=ROOT,
        env=os.environ | environment(targets) | {"FIDUCIAL_DATA_DIR": str(data_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_once_writes_the_report_and_exits_with_0(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with stand_in(Known()) as targets:
        options = ("--once", "--patients", "3", "--seed", "4", "--report", str(report))
        with start(targets, tmp_path / "data", *options) as hospital:
            out, err = hospital.communicate(timeout=60)

    assert hospital.returncode == 0, err
    content = json.loads(report.read_text())
    studies = content["studies"]
    assert f"{studies} studies, {studies} right, 0 held, 0 wrong, 0 unexplained" in out
    assert {"studies", "right", "held", "wrong", "unexplained", "messages_sent", "messages_refused", "details"} <= set(
        content
    )
    assert studies >= 3
    assert content["seed"] == 4


def test_something_wrong_exits_with_1(tmp_path: Path) -> None:
    known = Known(answer_code="AR")
    with stand_in(known) as targets, start(targets, tmp_path, "--once", "--patients", "1") as hospital:
        out, err = hospital.communicate(timeout=60)

    assert hospital.returncode == 1
    assert "0 wrong, 1 unexplained" in err
    assert "unexplained: exam 1" in out


def test_without_once_it_runs_until_sigterm(tmp_path: Path) -> None:
    known = Known()
    with stand_in(known) as targets, start(targets, tmp_path, "--rate", "600") as hospital:
        assert hospital.stdout is not None
        for line in hospital.stdout:
            if "ORM^O01 NW accepted" in line:
                break
        hospital.send_signal(signal.SIGTERM)
        out, err = hospital.communicate(timeout=60)

    assert hospital.returncode == 0, err
    assert "the hospital closes" in out


def test_no_name_and_no_patient_id_is_in_the_lines(tmp_path: Path) -> None:
    known = Known()
    with stand_in(known) as targets, start(targets, tmp_path, "--once", "--patients", "4", "--faults", "1") as hospital:
        out, err = hospital.communicate(timeout=90)

    assert known.patients
    for (_, patient_id), patient in known.patients.items():
        assert patient_id not in out + err
        assert patient.name.split("^")[0] not in out + err


def test_single_faults_have_shares_of_their_own() -> None:
    share, weights = simulate._faults("half_sent=0.2,no_order=0.1")
    assert share == pytest.approx(0.3)
    assert weights == {"half_sent": 0.2, "no_order": 0.1}
    assert simulate._faults("0.4") == (0.4, None)


def test_with_a_token_the_hospital_says_who_it_is(tmp_path: Path) -> None:
    known = Known()
    with stand_in(known) as targets, start(targets, tmp_path, "--once", "--patients", "1") as hospital:
        _, err = hospital.communicate(timeout=60)

    assert hospital.returncode == 0, err
    assert [site["code"] for site in known.configured["sites"]] == ["NORTH", "SOUTH", "HARBOR"]
    assert len(known.configured["interfaces"]) == 6
    assert len(known.configured["application-entities"]) == 13
    assert "destinations" not in known.configured


def test_a_taken_archive_port_ends_an_endless_hospital_with_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=rf"archive's port {port} cannot be used"):
            call_command("simulate", "--archive-port", str(port))


def test_a_history_without_its_report_is_refused_before_anything_is_played() -> None:
    with pytest.raises(CommandError, match="--history needs --report"):
        call_command("simulate", "--history", "3", "--archive-port", "0")


def test_a_report_that_cannot_be_written_is_said_before_the_first_patient_comes(tmp_path: Path) -> None:
    report = str(tmp_path / "no such folder" / "report.json")
    with pytest.raises(CommandError, match="No such file or directory"):
        call_command("simulate", "--once", "--report", report, "--archive-port", "0")


def test_a_run_of_which_nothing_could_be_judged_exits_with_1(tmp_path: Path) -> None:
    with stand_in(Known()) as targets:
        nobody = replace(targets, http=("127.0.0.1", free_port()))
        options = ("--once", "--patients", "1", "--wait", "3")
        with start(nobody, tmp_path, *options) as hospital:
            out, err = hospital.communicate(timeout=60)
    assert hospital.returncode == 1
    assert "1 not judged" in out
    assert "nothing was judged" in err


def test_the_sites_zone_is_the_one_by_which_the_hospital_lives(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(time.tzset)  # After the environment is as it was.
    patch = request.getfixturevalue("monkeypatch")
    patch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    monkeypatch.setattr(simulate, "machine_zone", lambda: "America/Denver")
    simulate._live_by_the_machines_clock()
    now = datetime.now().astimezone()
    assert now.utcoffset() == now.astimezone(ZoneInfo("America/Denver")).utcoffset()


@pytest.mark.parametrize(
    "options",
    [
        ["--faults", "1.5"],
        ["--faults", "nonsense=0.5"],
        ["--faults", "half_sent=0.7,no_order=0.7"],
        ["--faults", "half_sent=0"],
        ["--rate", "0"],
        ["--patients", "0"],
        ["--history", "-1"],
    ],
)
def test_a_senseless_option_is_refused(options: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("simulate", "--once", *options)


def test_history_means_once_and_twenty_patients_a_day() -> None:
    options = {
        "once": False,
        "history": 3,
        "clerks": 2,
        "moody": 0.0,
        "patients": None,
        "rate": None,
        "faults": (0.0, None),
        "group_cases": False,
        "reports": False,
        "seed": 1,
        "wait": 5,
        "report": None,
    }
    programme = simulate._programme(options)
    assert (programme.once, programme.patients, programme.history_days) == (True, 60, 3)
