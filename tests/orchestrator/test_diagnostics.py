"""What the doctor finds."""

import socket
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from orchestrator.models import ActorKind, WorkflowEvent
from orchestrator.services import diagnostics
from orchestrator.services.diagnostics import Finding, Level
from tests.peers import free_port


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def failing(findings: list[Finding]) -> list[str]:
    return [finding.what for finding in findings if finding.level is Level.FAIL]


def fine() -> list[Finding]:
    return [Finding(Level.OK, "all is well")]


def ill() -> list[Finding]:
    return [Finding(Level.FAIL, "it hurts", "Rest.")]


def broken() -> list[Finding]:
    raise ZeroDivisionError("by nought")


def test_the_doctor_tells_every_finding_and_fails_when_one_fails(
    settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.DOCTOR_CHECKS = [f"{__name__}.fine"]
    call_command("doctor", no_color=True)
    assert capsys.readouterr().out == "ok    all is well\n"
    settings.DOCTOR_CHECKS = [f"{__name__}.ill", f"{__name__}.fine"]
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", no_color=True)
    assert ended.value.code == 1
    assert capsys.readouterr().out == "fail  it hurts\n      -> Rest.\nok    all is well\n"


def test_a_check_that_breaks_is_a_finding_and_not_the_end(settings: Any) -> None:
    settings.DOCTOR_CHECKS = [f"{__name__}.broken", f"{__name__}.fine"]
    assert [finding.level for finding in diagnostics.examine()] == [Level.FAIL, Level.OK]


@pytest.mark.django_db(transaction=True)
def test_a_database_that_may_forget_a_commit_fails() -> None:
    unsafe = "PRAGMA synchronous=OFF" if connection.vendor == "sqlite" else "SET synchronous_commit TO off"
    with connection.cursor() as cursor:
        cursor.execute(unsafe)
    try:
        told = failing(diagnostics.check_database())
    finally:
        connection.close()
    assert any("synchronous" in what and "power cut" in what for what in told)


@pytest.mark.django_db
def test_a_clock_that_was_set_back_fails() -> None:
    assert failing(diagnostics.check_clock()) == []
    tomorrow = timezone.now() + timedelta(days=1)
    WorkflowEvent.objects.create(
        name="study.received",
        at=tomorrow,
        subject_type="study",
        subject_id=1,
        actor_kind=ActorKind.SYSTEM,
        actor_name="",
    )
    assert failing(diagnostics.check_clock()) == ["clock: the newest event lies in the future: a clock was set back"]


def test_a_door_that_nobody_keeps_fails_and_an_open_one_does_not(settings: Any, listening: int) -> None:
    settings.HTTP_HOST = settings.DICOM_HOST = "127.0.0.1"
    settings.HTTP_PORT, settings.DICOM_PORT = free_port(), listening
    settings.HL7_HOST, settings.HL7_PORT = "0.0.0.0", listening
    told = failing(diagnostics.check_ports())
    assert [what.partition(":")[0] for what in told] == ["web"]


def test_a_spool_that_others_may_read_fails(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR, settings.SPOOL_DIR = tmp_path, tmp_path / "spool"
    settings.SPOOL_DIR.mkdir()
    tmp_path.chmod(stat.S_IRWXU)
    assert failing(diagnostics.check_spool()) == []
    tmp_path.chmod(0o755)
    assert failing(diagnostics.check_spool()) == ["data directory: others on this machine may read it"]
    assert list(settings.SPOOL_DIR.iterdir()) == []


def test_a_spool_that_is_not_there_fails(settings: Any, tmp_path: Path) -> None:
    settings.SPOOL_DIR = tmp_path / "gone"
    assert failing(diagnostics.check_spool()) == ["spool: No such file or directory"]


def test_a_disk_below_the_reserve_fails_before_it_is_full(settings: Any) -> None:
    settings.SPOOL_RESERVE_BYTES = 0
    assert failing(diagnostics.check_disk()) == []
    settings.SPOOL_RESERVE_BYTES = 1 << 62
    assert len(failing(diagnostics.check_disk())) == 2


def test_loopback_trust_with_an_open_binding_fails(settings: Any) -> None:
    settings.TRUST, settings.HTTP_HOST, settings.BEHIND_PROXY = "loopback", "0.0.0.0", False
    assert any("FIDUCIAL_TRUST" in what for what in failing(diagnostics.check_exposure()))
    settings.TRUST = "known"
    assert failing(diagnostics.check_exposure()) == []


def test_half_a_certificate_fails(settings: Any, tmp_path: Path) -> None:
    settings.TLS_CERT, settings.TLS_KEY = tmp_path / "cert.pem", None
    assert failing(diagnostics.check_exposure()) == ["TLS: only half configured"]
    settings.TLS_KEY = tmp_path / "key.pem"
    assert any("No such file" in what for what in failing(diagnostics.check_exposure()))


def test_no_broker_fails_and_says_how_to_start_it(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EMBEDDED_BROKER = True
    monkeypatch.setattr(current_app.conf, "broker_url", f"redis+socket://{tmp_path}/none.sock?virtual_host=0")
    [finding] = diagnostics.check_broker()
    assert finding.level is Level.FAIL
    assert f"{tmp_path}/none.sock" in finding.what
    assert "manage.py up" in finding.advice
