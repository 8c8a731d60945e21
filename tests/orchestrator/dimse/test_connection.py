"""The limits of a connection, told without a database: what a caller may ask of our threads, memory and patience."""

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from django.db import OperationalError
from pydicom.uid import CTImageStorage
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import
from pytest_django import Settings

from orchestrator.dimse import assembly, association, negotiation, server, wire
from orchestrator.dimse.callers import Caller
from orchestrator.dimse.messages import Request, Response
from orchestrator.management.commands import listen_dicom
from tests.orchestrator.dimse.raw import ABORTED, P_DATA, REJECTED, RELEASED, RawCaller, command
from tests.orchestrator.dimse.serving import ECHO, accepting, associated, is_served, serving, tls
from tests.peers import LOOPBACK, wait_for

WORKLIST = "1.2.840.10008.5.1.4.31"


def refusal(port: int) -> tuple[int, int, int]:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    with RawCaller(port, Verification) as caller:
        caller.associate()
        kind, content = caller.pdu()
        assert kind == REJECTED
        return content[1], content[2], content[3]


def test_who_never_gets_to_the_end_of_the_first_pdu_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A byte now and then is no way to hold a thread."""
    monkeypatch.setattr(association, "ASSOCIATE_SECONDS", 0.5)
    with socket.create_connection((LOOPBACK, port), timeout=0.1) as caller:
        caller.sendall(b"\x01\x00\x00\x00\x00\x44\x00\x01")

        def is_cut_off() -> bool:
            try:
                caller.sendall(b"\0")
                return caller.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        wait_for(is_cut_off, what="the end")
    wait_for(lambda: "ended without a DICOM association" in caplog.text, what="a line in the log")


def test_who_stalls_in_the_middle_of_a_later_pdu_is_told(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(wire, "STALL_SECONDS", 0.2)
    with associated(port) as caller:
        caller.raw(struct.pack(">BxI", P_DATA, 100) + b"half")
        assert caller.pdu() == (ABORTED, bytes((0, 0, 2, 0)))
        assert caller.is_closed()


def test_who_says_nothing_between_messages_is_told(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(association, "IDLE_SECONDS", 0.2)
    with associated(port) as caller:
        assert caller.pdu() == (ABORTED, bytes(4))
        assert caller.is_closed()


@pytest.mark.peer("openssl")
def test_who_says_nothing_on_the_tls_port_keeps_nobody_waiting(tmp_path: Path, settings: Settings) -> None:
    context = tls(tmp_path, settings)
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
        wait_for(lambda: is_served(port), what="an answer")


def test_more_connections_than_a_process_holds_are_closed_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "MAXIMUM_CONNECTIONS", 3)
    with patch.object(server, "identify", return_value=Caller(None, 1)), serving() as port:
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(socket.create_connection((LOOPBACK, port), timeout=10))
            with socket.create_connection((LOOPBACK, port), timeout=10) as fourth:
                assert fourth.recv(1) == b""
        wait_for(lambda: is_served(port), what="an answer")
    assert "was closed: 3 are open" in caplog.text


def test_silent_connections_take_no_association_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAXIMUM_ASSOCIATIONS", 1)
    with (
        patch.object(server, "identify", return_value=Caller(None, 1)), serving() as port,
        socket.create_connection((LOOPBACK, port)), socket.create_connection((LOOPBACK, port)),
    ):  # fmt: skip
        assert is_served(port)


def test_a_full_process_leaves_callers_to_one_that_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAXIMUM_ASSOCIATIONS", 1)
    monkeypatch.setattr(server, "_PAUSE_SECONDS", 20)
    with (
        patch.object(server, "identify", return_value=Caller(None, 1)),
        socket.create_server((LOOPBACK, 0)) as listening, accepting(listening), contextlib.ExitStack() as later,
    ):  # fmt: skip
        port = int(listening.getsockname()[1])
        with associated(port):
            later.enter_context(accepting(listening))
            assert is_served(port)


def test_a_thread_that_cannot_be_started_costs_one_connection(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with (
        patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start new thread")),
        socket.create_connection((LOOPBACK, port), timeout=10) as caller,
    ):
        assert caller.recv(1) == b""
    assert is_served(port)
    assert "cannot be served" in caplog.text


def test_a_process_that_accepts_no_more_ends_so_that_another_is_started() -> None:
    with (
        patch.object(server.Listener, "serve", return_value=None), patch.object(server.Listener, "stop") as stop,
        patch.object(listen_dicom, "registrar"), patch.object(listen_dicom, "afterwards"),
        patch.object(signal, "signal"), socket.create_server((LOOPBACK, 0)) as listening,
    ):  # fmt: skip
        listen_dicom._serve(listening, os.getppid())
    assert stop.called


@pytest.mark.peer("openssl")
def test_who_resets_before_the_handshake_disturbs_nobody(tmp_path: Path, settings: Settings) -> None:
    context = tls(tmp_path, settings)
    with patch.object(server, "identify", return_value=Caller(None, 1)), serving() as port:
        for _ in range(20):
            caller = socket.create_connection((LOOPBACK, port))
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            caller.close()
        with context.wrap_socket(socket.create_connection((LOOPBACK, port), timeout=10)) as second:
            assert second.version()


@pytest.mark.peer("openssl")
def test_the_last_word_to_an_idle_caller_is_encrypted_as_well(tmp_path: Path, settings: Settings) -> None:
    context = tls(tmp_path, settings)
    with patch.object(server, "identify", return_value=Caller(None, 1)), contextlib.ExitStack() as stack:
        with serving() as port:
            connection = context.wrap_socket(socket.create_connection((LOOPBACK, port), timeout=10))
            caller = stack.enter_context(RawCaller(port, Verification, connection))
            caller.associate()
            caller.pdu()
            caller.send(ECHO, last=True, is_command=True)
            assert caller.status() == 0x0000
        # What is not encrypted is no TLS record, and to read it fails.
        assert caller.pdu() == (ABORTED, bytes(4))
        assert caller.is_closed()


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
        caller.raw(struct.pack(">BBI", 0x04, 0, negotiation.MAXIMUM_PDU_LENGTH * 2) + bytes(1000))
        assert caller.pdu() == (ABORTED, bytes((0, 0, 2, 6)))
        assert caller.is_closed()
    assert is_served(port)


def test_a_message_that_fills_the_memory_ends_the_association(
    monkeypatch: pytest.MonkeyPatch, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(assembly, "MAXIMUM_MESSAGE_LENGTH", 100_000)
    with associated(port, WORKLIST) as caller:
        caller.send(command(0x0020, WORKLIST, "1.2.3"), last=True, is_command=True)
        for _ in range(8):
            caller.send(bytes(16_000), last=False)
        assert caller.pdu()[0] == ABORTED
    with associated(port) as caller:
        for _ in range(5):
            caller.send(bytes(16_000), last=False, is_command=True)
        assert caller.pdu()[0] == ABORTED
    assert "sent a message of more than 100000 bytes" in caplog.text
    assert "sent a message of more than 65536 bytes" in caplog.text
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


def test_who_does_not_wait_for_answers_gets_them_in_turn(port: int) -> None:
    with associated(port) as caller:
        for _ in range(500):
            caller.send(ECHO, last=True, is_command=True)
        assert {caller.status() for _ in range(500)} == {0x0000}


def test_a_cancel_ends_an_answer_without_end(port: int) -> None:
    def find(request: Request) -> Iterator[Response]:
        while not request.is_cancelled():
            yield Response(0xFF00, bytes(16_000))
        yield Response(0xFE00)

    question = command(0x0020, WORKLIST)
    # C-CANCEL-RQ (PS3.7 9.3.2.3): its command field, and Message ID Being Responded To in the place of Message ID.
    cancel = question.replace(b"\x20\x00\x00\x00\x10\x01", b"\xff\x0f\x00\x00\x20\x01")
    with patch.object(server, "handler_for", return_value=find), associated(port, WORKLIST) as caller:
        caller.send(question, last=True, is_command=True)
        assert caller.status() == 0xFF00
        caller.pdu()
        caller.send(cancel, last=True, is_command=True)
        while (status := caller.status()) == 0xFF00:
            caller.pdu()
        assert status == 0xFE00


def test_half_a_cancel_keeps_no_answer_waiting(port: int) -> None:
    def find(request: Request) -> Iterator[Response]:
        # Until the half has come.
        wait_for(has_come.is_set, what="the half")
        assert not request.is_cancelled()
        yield Response(0xFF00, bytes(10))
        yield Response(0x0000)

    has_come = threading.Event()
    with patch.object(server, "handler_for", return_value=find), associated(port, WORKLIST) as caller:
        caller.send(command(0x0020, WORKLIST), last=True, is_command=True)
        caller.raw(struct.pack(">BxI", P_DATA, 100))
        has_come.set()
        # Who waited for the other half would stall, and abort.
        assert caller.status() == 0xFF00


def test_an_answer_does_not_wait_for_many_more(port: int) -> None:
    def find(request: Request) -> Iterator[Response]:
        for _ in range(300):
            yield Response(0xFF00, bytes(10))
            if heard.wait(0.1):
                break
        yield Response(0x0000 if heard.is_set() else 0xC000)

    heard = threading.Event()
    with patch.object(server, "handler_for", return_value=find), associated(port, WORKLIST) as caller:
        caller.send(command(0x0020, WORKLIST), last=True, is_command=True)
        assert caller.status() == 0xFF00
        heard.set()
        caller.pdu()
        while (status := caller.status()) == 0xFF00:
            caller.pdu()
        assert status == 0x0000


def test_who_releases_in_the_middle_of_an_answer_is_let_go(port: int) -> None:
    ended = threading.Event()

    def find(request: Request) -> Iterator[Response]:
        while not request.is_cancelled():
            yield Response(0xFF00, bytes(16_000))
        ended.set()
        yield Response(0xFE00)

    with patch.object(server, "handler_for", return_value=find), associated(port, WORKLIST) as caller:
        caller.send(command(0x0020, WORKLIST), last=True, is_command=True)
        assert caller.status() == 0xFF00
        caller.release()
        while (kind := caller.pdu()[0]) == P_DATA:
            pass
        assert kind == RELEASED
        assert caller.is_closed()
    assert ended.wait(10)


def test_an_association_that_says_nothing_costs_nothing(port: int) -> None:
    """pynetdicom's own loops look a thousand times a second each."""
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(associated(port))
        begun, used = time.monotonic(), time.process_time()
        wait_for(lambda: time.monotonic() - begun > 1, what="a second")
        assert time.process_time() - used < 0.15
    assert is_served(port)
