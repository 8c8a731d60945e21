"""Fiducial as it is measured: its own processes on the embedded default, in a folder of their own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.peers import free_port, listens, wait_for

ROOT = Path(__file__).resolve().parent.parent
AE_TITLE = "FIDUCIAL"
DATABASE = "fiducial.sqlite3"
DURABLE = "SQLite WAL synchronous=FULL"
QUIET_SECONDS = 1.0
"""After so long without a further object a study is taken for whole."""


@dataclass(frozen=True)
class Installation:
    """A data directory and the ports of its doors."""

    data_dir: Path
    http_port: int
    dicom_port: int
    hl7_port: int
    database_url: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": "",
            "DJANGO_SETTINGS_MODULE": "orchestrator.settings",
            "FIDUCIAL_TRUST": "loopback",
            "FIDUCIAL_DATA_DIR": str(self.data_dir),
            "FIDUCIAL_HTTP_PORT": str(self.http_port),
            "FIDUCIAL_DICOM_PORT": str(self.dicom_port),
            "FIDUCIAL_HL7_PORT": str(self.hl7_port),
            "FIDUCIAL_STUDY_QUIET_SECONDS": str(QUIET_SECONDS),
        }

    @contextlib.contextmanager
    def running(self, command: str, *ports: int) -> Iterator[int]:
        """`manage.py command`, from when all `ports` answer until the block ends; its process id."""
        log = self.data_dir / f"{command}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), command],
                env={**os.environ, **self.environment}, cwd=ROOT, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            wait_for(
                lambda: all(map(listens, ports)) or process.poll() is not None, what=f"manage.py {command}", seconds=600
            )
            if process.poll() is not None:
                raise RuntimeError(f"manage.py {command} ended: {log.read_text(errors='replace')[-2000:]}")
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def installation(folder: Path) -> Installation:
    folder.mkdir(mode=0o700)
    return Installation(folder, free_port(), free_port(), free_port())


@contextlib.contextmanager
def broker() -> Iterator[None]:
    """The broker beside a single process, as in the product. `manage.py up` starts its own."""
    from django.conf import settings  # Django is set up by who calls

    from orchestrator.supervisor.broker import answers, broker_command

    command = broker_command(data_dir=settings.RUN_DIR, socket_path=settings.BROKER_SOCKET)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: answers(settings.BROKER_SOCKET), what="the broker")
            yield
        finally:
            process.terminate()
