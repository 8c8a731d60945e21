"""`manage.py listen_hl7` as a process of its own: what it acknowledged outlives it, and no broker can hold it up."""

import contextlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings

from tests.orchestrator.hl7.speech import Sender, adt, field, framed
from tests.peers import LOOPBACK, free_port, wait_for
from tests.tracing import course, tracing


@pytest.fixture(scope="module")
def environment(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A data folder with a migrated database. Its broker's socket does not exist."""
    folder = tmp_path_factory.mktemp("data")
    shutil.copy(migrated, folder / "fiducial.sqlite3")
    return {**os.environ, "DATABASE_URL": "", "REDIS_URL": "", "FIDUCIAL_DATA_DIR": str(folder)}


@contextlib.contextmanager
def listener(environment: dict[str, str]) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """The command, once it listens, and its port."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "listen_hl7"],
        env={**environment, "FIDUCIAL_HL7_PORT": str(port)}, cwd=settings.BASE_DIR, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert "HL7 listens" in process.stdout.readline()
        yield process, port
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def kept(environment: dict[str, str]) -> list[str]:
    with contextlib.closing(sqlite3.connect(Path(environment["FIDUCIAL_DATA_DIR"]) / "fiducial.sqlite3")) as database:
        return [row[0] for row in database.execute("select control_id from orchestrator_inboundmessage order by id")]


def statuses(environment: dict[str, str], control_id: str) -> list[str]:
    query = "select status from orchestrator_inboundmessage where control_id = ? order by id"
    with contextlib.closing(sqlite3.connect(Path(environment["FIDUCIAL_DATA_DIR"]) / "fiducial.sqlite3")) as database:
        return [row[0] for row in database.execute(query, [control_id])]


# No measure of speed: who waited for the broker would wait for seconds (its answer, or further attempts) each time.
_NOBODY_WAITED = 0.5


def quickest(sender: Sender, prefix: str) -> float:
    """Seconds from a message to its acknowledgement: the best of ten, for others use this machine too."""
    times = []
    for number in range(11):
        started = time.perf_counter()
        assert field(sender.say(adt(control_id=f"{prefix}{number}")), "MSA", 1) == "AA"
        times.append(time.perf_counter() - started)
    return min(times[1:])


def test_without_a_broker_nobody_waits_for_it_and_what_they_promise_is_there_after_kill_9(
    environment: dict[str, str],
) -> None:
    with listener(environment) as (process, port), Sender(port) as sender:
        assert quickest(sender, "AWAY") < _NOBODY_WAITED
        process.kill()
        process.wait()
    assert [each for each in kept(environment) if each.startswith("AWAY")] == [f"AWAY{number}" for number in range(11)]


@pytest.mark.peer("strace")
def test_a_message_is_on_disk_before_it_is_acknowledged(environment: dict[str, str], tmp_path: Path) -> None:
    """Told by the system calls: written to the database's log, the log synced, and only then the acknowledgement."""
    trace = tmp_path / "trace"
    log = r"\(\d+<[^>]*fiducial\.sqlite3-wal>"
    # A frame begins with VT; the pipe that wakes a thread is no TCP.
    answered = r'(?:sendto|sendmsg|write)\(\d+<TCP\w*:\[[^"]*\]>, "\\v'
    steps = {"written": "pwrite64" + log, "synced": "f(?:data)?sync" + log, "answered": answered}
    calls = "trace=fsync,fdatasync,pwrite64,sendto,sendmsg,write"
    with listener(environment) as (process, port), Sender(port) as sender, tracing(process.pid, calls, trace):
        for number in range(3):
            assert field(sender.say(adt(control_id=f"TRACED{number}")), "MSA", 1) == "AA"
        told = wait_for(
            lambda: told if (told := course(trace.read_text(), steps)).count("answered") == 3 else [],
            what="three answers",
        )
    initials = "".join(step[0] for step in told)
    # Whatever was written before an answer was synced before it.
    assert re.fullmatch(r"((w+s+)+a){3}", initials), initials


def test_the_same_message_after_kill_9_gets_the_same_answer_and_is_not_taken_twice(environment: dict[str, str]) -> None:
    with listener(environment) as (process, port), Sender(port) as sender:
        first = sender.say(adt(control_id="AGAIN"))
        process.kill()
        process.wait()
    with listener(environment) as (_, port), Sender(port) as one, Sender(port) as two:
        for sender in (one, two):
            sender.write(framed(adt(control_id="AGAIN")))
        assert (one.answer(), two.answer()) == (first, first)
    assert statuses(environment, "AGAIN") == ["RECEIVED", "DUPLICATE", "DUPLICATE"]


def test_a_broker_that_never_answers_holds_up_neither_acknowledgements_nor_the_stop(
    environment: dict[str, str],
) -> None:
    with socket.create_server((LOOPBACK, 0)) as deaf:
        url = f"redis://{LOOPBACK}:{deaf.getsockname()[1]}"
        with listener({**environment, "REDIS_URL": url}) as (process, port), Sender(port) as sender:
            assert quickest(sender, "DEAF") < _NOBODY_WAITED
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            assert sender.closed()


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    with (
        socket.create_server((LOOPBACK, 0)) as taken,
        override_settings(HL7_PORT=taken.getsockname()[1]),
        pytest.raises(CommandError, match="set FIDUCIAL_HL7_PORT"),
    ):
        call_command("listen_hl7")


def test_a_certificate_that_is_not_there_is_one_clear_line() -> None:
    with (
        override_settings(HL7_PORT=free_port(), TLS_CERT=Path("/nowhere.pem")),
        pytest.raises(CommandError, match="FIDUCIAL_TLS_CERT"),
    ):
        call_command("listen_hl7")
