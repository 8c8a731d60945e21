"""`manage.py up` from outside: what it refuses, what it prints, what it starts and what it leaves."""

import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.supervisor.lock import take_lock
from tests.orchestrator.supervisor.environment import ROOT, isolated
from tests.peers import listens, wait_for


def _refused(environment: dict[str, str]) -> str:
    """Run `up`, which must fail; its last line."""
    ended = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("door", ["HTTP", "DICOM", "HL7"])
def test_a_taken_port_is_one_line_and_nothing_is_started(tmp_path: Path, door: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        line = _refused(isolated(tmp_path, **{f"FIDUCIAL_{door}_PORT": str(number)}))
    assert f"Port {number} (" in line
    assert f"FIDUCIAL_{door}_PORT" in line
    assert not (tmp_path / "fiducial.sqlite3").exists()


def test_a_bad_setting_is_one_line(tmp_path: Path) -> None:
    assert _refused(isolated(tmp_path, FIDUCIAL_HTTP_PORT="eighty")).startswith("Bad setting: FIDUCIAL_HTTP_PORT:")


def test_a_data_directory_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    line = _refused(isolated(tmp_path / "data"))
    assert line.startswith(f"Bad setting: FIDUCIAL_DATA_DIR: {tmp_path / 'data'} cannot be used: ")


def test_a_data_directory_below_one_that_cannot_be_made_is_one_line() -> None:
    # Also root cannot make a folder there.
    assert _refused(isolated(Path("/proc/none"))).startswith("Bad setting: FIDUCIAL_DATA_DIR: /proc/none cannot be ")


def test_a_lock_that_cannot_be_taken_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "up.lock").mkdir()
    line = _refused(isolated(tmp_path))
    assert line.startswith(f"CommandError: Fiducial cannot run on {tmp_path}: ")


def test_an_unreachable_database_is_one_line(tmp_path: Path) -> None:
    line = _refused(isolated(tmp_path, DATABASE_URL="postgres://nobody@127.0.0.1:1/none"))
    assert "The database cannot be used" in line
    assert "DATABASE_URL" in line


def test_a_second_copy_on_the_same_data_is_refused(tmp_path: Path) -> None:
    take_lock(tmp_path / "up.lock")
    assert f"Fiducial is already running on {tmp_path}" in _refused(isolated(tmp_path))


class Fiducial:
    """A whole Fiducial in processes of its own."""

    def __init__(self, folder: Path) -> None:
        self.log, self.environment = folder / "up.log", isolated(folder / "data")
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "manage.py", "up"], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )

    def wait_until_up(self) -> str:
        def up_or_dead() -> bool:
            return "Fiducial is up." in self.text() or self.process.poll() is not None

        wait_for(up_or_dead, what="Fiducial", seconds=150)
        assert self.process.poll() is None, self.text()[-3000:]
        wait_for(lambda: "Stop      " in self.text(), what="the whole announcement")
        return self.text()

    def text(self) -> str:
        return self.log.read_text()

    def ports(self) -> list[int]:
        return [int(self.environment[f"FIDUCIAL_{door}_PORT"]) for door in ("HTTP", "DICOM", "HL7")]

    def doctor(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", "doctor"],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def processes(self) -> list[int]:
        """Every process that has our data directory in its environment: children, pool workers, the broker."""
        mark = f"FIDUCIAL_DATA_DIR={self.environment['FIDUCIAL_DATA_DIR']}".encode()
        return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and _has(each, mark)]


def _has(process: Path, mark: bytes) -> bool:
    try:
        return mark in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


# Two starts of everything, on a machine that may be busy.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def fiducial(tmp_path: Path) -> Iterator[Fiducial]:
    (tmp_path / "data").mkdir(mode=0o700)
    made = Fiducial(tmp_path)
    yield made
    if made.process.poll() is None:
        made.process.terminate()
        made.process.wait(60)


def test_up_starts_everything_leaves_nothing_after_kill_9_starts_again_and_ends_everything(fiducial: Fiducial) -> None:
    announced = fiducial.wait_until_up()
    http, dicom, hl7 = fiducial.ports()
    assert f"http://127.0.0.1:{http}/" in announced
    assert f"AE title FIDUCIAL at 127.0.0.1 port {dicom}" in announced
    assert f"MLLP at 127.0.0.1 port {hl7}" in announced
    assert "admin / " in announced
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/readyz", timeout=10) as answer:
        assert answer.status == 200
    told = fiducial.doctor()
    assert told.returncode == 0, told.stdout
    assert "every queue has a worker" in told.stdout
    assert len(fiducial.processes()) > 8

    fiducial.process.kill()
    fiducial.process.wait()
    wait_for(lambda: not fiducial.processes(), what="the end of all processes")
    assert not any(map(listens, fiducial.ports()))

    fiducial.process = fiducial.start()
    assert "admin / " not in fiducial.wait_until_up(), "no new password"
    fiducial.process.send_signal(signal.SIGTERM)
    assert fiducial.process.wait(60) == 0
    assert fiducial.text().splitlines()[-1].endswith("| stopped")
    assert fiducial.processes() == []
