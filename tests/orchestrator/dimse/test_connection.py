"""The limits of a connection, told without a database: what a caller may ask of our threads, memory and patience."""

import contextlib
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socketserver import BaseServer
from unittest.mock import patch

import pytest
from django.db import OperationalError
from pydicom.uid import CTImageStorage
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import
from pytest_django import Settings

from orchestrator.dimse import connection, server
from orchestrator.dimse.callers import Caller
from tests.orchestrator.dimse.raw import ACCEPTED, RawCaller, command
from tests.peers import LOOPBACK, wait_for

REJECTED, ABORTED = 0x03, 0x07
ECHO = command(0x0030, Verification)


@contextlib.contextmanager
def serving() -> Iterator[int]:
    """Our server in a thread of this process; its port."""
    listening = socket.create_server((LOOPBACK, 0))
    scp = server.serve(listening)
    thread = threading.Thread(target=scp.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        BaseServer.shutdown(scp)
        thread.join()
        for association in scp.active_associations:
            association.join(10)
        listening.close()


@pytest.fixture
def port(tmp_path: Path, settings: Settings) -> Iterator[int]:
    """A server that lets everybody in."""
    settings.SPOOL_DIR = tmp_path
    with patch.object(server, "identify", return_value=Caller(None, 1)), serving() as number:
        yield number


@contextlib.contextmanager
def associated(port: int, sop_class_uid: str = Verification) -> Iterator[RawCaller]:
    with RawCaller(port, sop_class_uid) as caller:
        caller.associate()
        assert caller.pdu()[0] == ACCEPTED
        yield caller


def is_served(port: int) -> bool:
    with associated(port) as caller:
        caller.send(ECHO, last=True, is_command=True)
        return caller.status() == 0x0000


def refusal(port: int) -> tuple[int, int, int]:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    with RawCaller(port, Verification) as caller:
        caller.associate()
        kind, content = caller.pdu()
        assert kind == REJECTED
        return content[1], content[2], content[3]


def test_who_stalls_in_the_middle_of_a_pdu_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "STALL_SECONDS", 0.2)
    with socket.create_connection((LOOPBACK, port), timeout=10) as caller:
        caller.sendall(b"\x01\x00\x00\x00\x00\x44\x00\x01")
        assert caller.recv(1) == b""
    wait_for(lambda: "ended without a DICOM association" in caplog.text, what="a line in the log")


@pytest.mark.peer("openssl")
def test_who_says_nothing_on_the_tls_port_keeps_nobody_waiting(tmp_path: Path, settings: Settings) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    settings.TLS_CERT, settings.TLS_KEY, settings.TLS_CA = certificate, key, None
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    with (
        serving() as port,
        socket.create_connection((LOOPBACK, port)),
        context.wrap_socket(socket.create_connection((LOOPBACK, port), timeout=10)) as second,
    ):
        assert second.version()


def test_a_caller_who_cannot_be_looked_up_is_turned_away_for_now() -> None:
    with patch.object(server, "identify", side_effect=OperationalError("away")), serving() as port:
        assert refusal(port) == (2, 3, 1)


def test_scanners_that_are_gone_take_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAXIMUM_ASSOCIATIONS", 3)
    with patch.object(server, "identify", return_value=Caller(None, 1)), serving() as port:
        for _ in range(20):
            socket.create_connection((LOOPBACK, port)).close()
        wait_for(lambda: is_served(port), what="an answer", seconds=5)


def test_more_associations_than_a_process_serves_are_turned_away_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "MAXIMUM_ASSOCIATIONS", 2)
    with patch.object(server, "identify", return_value=Caller(None, 1)), serving() as port:
        with associated(port), associated(port):
            assert refusal(port) == (2, 3, 2)
        wait_for(lambda: is_served(port), what="an answer")
    assert "was turned away: 2 associations are open" in caplog.text


def test_a_pdu_longer_than_was_agreed_is_not_read(port: int) -> None:
    with associated(port, CTImageStorage) as caller:
        caller.raw(struct.pack(">BBI", 0x04, 0, connection.MAXIMUM_PDU_LENGTH * 2) + bytes(1000))
        assert caller.is_closed()
    assert is_served(port)


def test_a_message_that_fills_the_memory_ends_the_association(
    monkeypatch: pytest.MonkeyPatch, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "MAXIMUM_MESSAGE_LENGTH", 100_000)
    with associated(port) as caller:
        for _ in range(8):
            caller.send(bytes(16_000), last=False, is_command=True)
        assert caller.pdu()[0] == ABORTED
    assert "sent a message of more than 100000 bytes" in caplog.text
    assert is_served(port)


@pytest.mark.parametrize("fragment", [b"", b"\xff" * 50, bytes(200)], ids=["nothing", "noise", "zeros"])
def test_a_command_that_is_none_ends_the_association_with_a_line(
    port: int, fragment: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with associated(port) as caller:
        caller.send(fragment, last=True, is_command=True)
        assert caller.pdu()[0] == ABORTED
    assert "no DIMSE message: the association is aborted" in caplog.text
    assert is_served(port)


def test_who_does_not_wait_for_answers_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "MAXIMUM_REQUESTS_AHEAD", 3)
    with associated(port) as caller:
        with contextlib.suppress(OSError):
            for _ in range(500):
                caller.send(ECHO, last=True, is_command=True)
        wait_for(lambda: "requests without waiting for answers" in caplog.text, what="a line in the log")
    assert is_served(port)


def test_an_association_that_says_nothing_costs_nothing(port: int) -> None:
    """pynetdicom's own loops look a thousand times a second each."""
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(associated(port))
        begun, used = time.monotonic(), time.process_time()
        wait_for(lambda: time.monotonic() - begun > 1, what="a second")
        assert time.process_time() - used < 0.15
    assert is_served(port)
