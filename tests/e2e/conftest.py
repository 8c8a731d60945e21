"""A whole Fiducial: `manage.py up` in a folder of its own, spoken to only through its sockets."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings

from tests.peers import Orthanc, free_port, orthanc, redis, wait_for

PASSWORD = "a long enough one"


@dataclass
class Fiducial:
    """A running Fiducial."""

    folder: Path
    environment: dict[str, str]
    http_port: int
    dicom_port: int
    hl7_port: int
    process: "subprocess.Popen[bytes]"
    token: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def manage(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            env=self.environment, cwd=settings.BASE_DIR, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    @property
    def log(self) -> str:
        return (self.folder / "up.log").read_text(errors="replace")

    def doctor(self) -> str:
        """What it says of itself, as far as it can."""
        try:
            return subprocess.run(
                [sys.executable, "manage.py", "doctor"],
                env=self.environment, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False, timeout=60,
            ).stdout  # fmt: skip
        except (subprocess.SubprocessError, OSError) as error:
            return f"{type(error).__name__}"

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        """Call /api/v1/…; the answer's JSON. Raises with the problem's text when it is refused."""
        request = urllib.request.Request(  # noqa: S310  always our own http address
            f"{self.url}/api/v1/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Token {self.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()[:500]}") from error
        return json.loads(text) if text else None

    def study(self, study_instance_uid: str) -> dict[str, Any] | None:
        """The study by REST, or None while it is not known."""
        found = self.rest("GET", f"studies/?study_instance_uid={study_instance_uid}")["results"]
        return dict(found[0]) if found else None

    def wait_for_identity(self, study_instance_uid: str, identity: str) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            study = self.study(study_instance_uid)
            return study if study and study["identity"] == identity else None

        return dict(wait_for(there, what=f"study to be {identity}", seconds=60))

    def hl7(self, message: str) -> str:
        """Send one message over MLLP on a connection of its own; the acknowledgement's text."""
        with socket.create_connection(("127.0.0.1", self.hl7_port), timeout=20) as connection:
            connection.sendall(b"\x0b" + message.encode() + b"\x1c\r")
            answer = b""
            while not answer.endswith(b"\x1c\r"):
                more = connection.recv(65536)
                assert more, "the HL7 listener closed the connection without an answer"
                answer += more
        return answer[1:-2].decode()

    def pids(self, words: str) -> list[int]:
        """Processes of this Fiducial whose command line contains `words`."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (folder / "environ").read_bytes()
            except OSError:
                continue
            # The broker writes its title over its environment; the title names its socket.
            if words in line and (os.fsencode(self.folder) in environment or str(self.folder) in line):
                found.append(int(folder.name))
        return found

    def kill(self, words: str) -> None:
        """kill -9 every process of this Fiducial whose command line contains `words`."""
        victims = self.pids(words)
        assert victims, f"no process of ours runs {words}"
        for pid in victims:
            # The end of one may have ended another.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed tells how the Fiducial was that it talked to."""
    report = yield
    system = item.funcargs.get("fiducial")
    if report.failed and isinstance(system, Fiducial):
        report.sections += [("Fiducial's log", system.log[-6000:]), ("manage.py doctor", system.doctor())]
    return report


@contextlib.contextmanager
def real_servers(folder: Path) -> Iterator[dict[str, str]]:
    """A PostgreSQL database of its own and a Redis server, where the run is on PostgreSQL; else nothing."""
    server = os.environ.get("DATABASE_URL", "")
    if not server:
        yield {"DATABASE_URL": "", "REDIS_URL": ""}
        return
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS fiducial_e2e WITH (FORCE)")
        connection.execute("CREATE DATABASE fiducial_e2e")
    with redis(folder) as broker:
        yield {"DATABASE_URL": f"{server.rpartition('/')[0]}/fiducial_e2e", "REDIS_URL": broker}


@pytest.fixture(scope="module")
def fiducial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fiducial]:
    """Everything up, with an administrator's token: on the embedded default, or on real servers."""
    with real_servers(tmp_path_factory.mktemp("redis")) as servers:
        yield from _running(tmp_path_factory.mktemp("fiducial"), servers)


def _running(folder: Path, servers: dict[str, str]) -> Iterator[Fiducial]:
    http_port, dicom_port, hl7_port = free_port(), free_port(), free_port()
    environment = {
        **os.environ,
        **servers,
        "FIDUCIAL_DATA_DIR": str(folder),
        "FIDUCIAL_HTTP_PORT": str(http_port),
        "FIDUCIAL_DICOM_PORT": str(dicom_port),
        "FIDUCIAL_HL7_PORT": str(hl7_port),
        "FIDUCIAL_ADMIN_PASSWORD": PASSWORD,
        "FIDUCIAL_STUDY_QUIET_SECONDS": "3",
    }
    with (folder / "up.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            env=environment, cwd=settings.BASE_DIR, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    system = Fiducial(folder, environment, http_port, dicom_port, hl7_port, process)
    try:
        wait_for(lambda: "admin" in system.log or process.poll() is not None, what="Fiducial", seconds=120)
        assert process.poll() is None, system.log[-4000:]
        system.token = system.manage("create_token", "admin")
        yield system
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def archive(fiducial: Fiducial, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Orthanc as the archive, with a rule that sends it everything."""
    with orthanc(tmp_path_factory.mktemp("orthanc"), ae_title="ORTHANC") as peer:
        destination = fiducial.rest(
            "POST", "destinations/",
            {"name": "Orthanc", "kind": "dicom", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": peer.dicom_port,
             "required_for_custody": True},
        )  # fmt: skip
        rules = [
            {
                "name": "everything",
                "enabled": True,
                "when": {"any": [{"field": "modality", "op": "in", "value": ["CT", "MR"]}]},
                "then": [{"action": "send", "destination": destination["id"], "priority": "normal"}],
            }
        ]
        rule_set = next(r for r in fiducial.rest("GET", "rule-sets/")["results"] if r["name"] == "default")
        fiducial.rest("PUT", f"rule-sets/{rule_set['id']}/draft/", {"rules": rules})
        fiducial.rest("POST", f"rule-sets/{rule_set['id']}/publish/", {"comment": "Everything to the archive"})
        yield peer
