"""`manage.py web` as a process: serves, keeps secrets out of its log, speaks TLS, ends on SIGTERM."""

import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest

from tests.orchestrator.supervisor.environment import ROOT, isolated
from tests.peers import free_port, listens, wait_for


@contextmanager
def _web(folder: Path, port: int, **settings: str) -> Iterator[Path]:
    """A running web process; its log."""
    log = folder / "web.log"
    environment = isolated(folder, FIDUCIAL_HTTP_PORT=str(port), **settings)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "web", "--processes", "1", "--threads", "2"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: listens(port) or process.poll() is not None, what="the web process", seconds=60)
        assert process.poll() is None, log.read_text()
        yield log
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_static_files_have_hashed_names_and_are_collected_once_and_the_log_is_free_of_searches_and_uids(
    tmp_path: Path,
) -> None:
    port = free_port()
    with _web(tmp_path, port) as log:
        client = HTTPConnection("127.0.0.1", port, timeout=20)
        client.request("GET", "/static/fiducial.css")
        answer = client.getresponse()
        assert answer.status == 200
        assert b"{" in answer.read()
        # On the same connection: it is kept alive.
        client.request("GET", "/studies/1.2.840.113619.2.55.3.604688/?name=MUELLER&identifier=4711")
        client.getresponse().read()
        client.close()
        wait_for(lambda: "/studies/uid:" in log.read_text(), what="the access log")
        written = log.read_text()
        assert "MUELLER" not in written
        assert "4711" not in written
        assert "113619" not in written
    hashed = [path.name for path in (tmp_path / "static").glob("fiducial.*.css")]
    assert len(hashed) == 1
    first = (tmp_path / "static" / "fiducial.css").stat().st_ctime_ns
    with _web(tmp_path, free_port()):
        pass
    assert (tmp_path / "static" / "fiducial.css").stat().st_ctime_ns == first


@pytest.mark.peer("openssl")
def test_with_a_certificate_it_speaks_https(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    port, (cert, key) = free_port(), certificate
    context = ssl.create_default_context(cafile=str(cert))
    with _web(tmp_path, port, FIDUCIAL_TLS_CERT=str(cert), FIDUCIAL_TLS_KEY=str(key)):
        client = HTTPSConnection("localhost", port, timeout=20, context=context)
        client.request("GET", "/static/fiducial.css")
        assert client.getresponse().status == 200
        client.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-out", str(cert), "-keyout", str(key)]
    subprocess.run([*request, *names], check=True, capture_output=True)
    return cert, key
