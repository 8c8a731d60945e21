"""The basic checks of `manage.py doctor`: what is wrong with this installation, and what to do about it.

Other apps add their own, functions() -> list[Finding], to settings.DOCTOR_CHECKS.
"""

import os
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from celery import current_app
from django.conf import settings
from django.core.checks import Tags, run_checks
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError

from orchestrator.models import WorkflowEvent
from orchestrator.services import kpi_rollups, names

_CLOCK_TOLERANCE = timedelta(seconds=5)
_KPI_CHECKED = timedelta(days=7)
_SLOW_FSYNC = 0.1  # seconds
_GIB = 1024**3
# What makes a commit survive a power cut (promise 1): statement -> good answers, and what to do otherwise.
_SQLITE_DURABLE = {"PRAGMA journal_mode": {"wal"}, "PRAGMA synchronous": {"2"}}  # 2 is FULL
_POSTGRESQL_DURABLE = {
    "SHOW fsync": {"on"},
    "SHOW full_page_writes": {"on"},
    "SHOW synchronous_commit": {"on", "local", "remote_write", "remote_apply"},
}


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """How it is, what was looked at, and what to do where it is not well."""

    level: Level
    what: str
    advice: str = ""


def examine() -> Iterator[Finding]:
    """Run every registered check. A check that breaks is a finding, not the end."""
    for name in settings.DOCTOR_CHECKS:
        check: Callable[[], list[Finding]] = import_string(name)
        try:
            yield from check()
        except Exception as error:
            yield Finding(Level.FAIL, f"{name} broke: {type(error).__name__}: {error}", "Report this as a defect.")


def check_database() -> list[Finding]:
    """Reachable, migrated and durable."""
    durable = _SQLITE_DURABLE if connection.vendor == "sqlite" else _POSTGRESQL_DURABLE
    try:
        answers = {statement: _ask_database(statement) for statement in durable}
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        reason = str(error).strip().partition("\n")[0]
        return [Finding(Level.FAIL, f"database: {reason}", "Start the database, or correct DATABASE_URL.")]
    findings = [Finding(Level.OK, f"database: {connection.vendor} answers")]
    for statement, answer in answers.items():
        if answer not in durable[statement]:
            what = f"database: {statement} is {answer}: acknowledged data may be lost in a power cut"
            findings.append(Finding(Level.FAIL, what, f"Set it to {' or '.join(sorted(durable[statement]))}."))
    if missing:
        findings.append(Finding(Level.FAIL, f"database: {len(missing)} migrations missing", "Run manage.py migrate."))
    return findings


def _ask_database(statement: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return str(cursor.fetchone()[0]).lower()


def check_broker() -> list[Finding]:
    """The broker answers, and somebody works on each queue."""
    start = "Start it with manage.py up." if settings.EMBEDDED_BROKER else "Start it, or correct REDIS_URL."
    try:
        with current_app.connection_for_write() as broker:
            broker.ensure_connection(max_retries=1, timeout=3)
    except OperationalError as error:
        return [Finding(Level.FAIL, f"broker: {error}", start)]
    # Workers that are busy answer late: those that were silent are asked again, with more patience.
    queues = {"hl7", "deliver", "rest"}
    served = _served_queues(seconds=2)
    if not queues <= served:
        served |= _served_queues(seconds=8)
    idle = sorted(queues - served)
    if idle:
        what = f"broker: answers, but nobody works on: {', '.join(idle)}"
        return [Finding(Level.FAIL, what, "Start the workers (manage.py up, or their units).")]
    return [Finding(Level.OK, "broker: answers, and every queue has a worker")]


def _served_queues(*, seconds: float) -> set[str]:
    replies = current_app.control.inspect(timeout=seconds).active_queues() or {}
    return {queue["name"] for queues in replies.values() for queue in queues}


def check_disk() -> list[Finding]:
    """Room for more: below the reserve, C-STORE is refused with A700."""
    findings = []
    for name, folder in {"data": settings.DATA_DIR, "spool": settings.SPOOL_DIR}.items():
        free, reserve = shutil.disk_usage(folder).free, settings.SPOOL_RESERVE_BYTES
        what = f"disk: {free / _GIB:.1f} GiB free for {name}"
        if free <= reserve:
            findings.append(Finding(Level.FAIL, f"{what}: images are refused", "Free some space now."))
        elif free < 4 * reserve:
            findings.append(
                Finding(Level.WARN, what, f"Free some space: below {reserve / _GIB:.1f} GiB images are refused.")
            )
        else:
            findings.append(Finding(Level.OK, what))
    return findings


def check_spool() -> list[Finding]:
    """Writable, private, and one file system: a rename between two is no rename."""
    folder: Path = settings.SPOOL_DIR
    try:
        seconds = _durable_write(folder)
    except OSError as error:
        return [Finding(Level.FAIL, f"spool: {error.strerror}", f"Give this user the right to write {folder}.")]
    findings = [Finding(Level.OK, f"spool: a durable write takes {seconds * 1000:.1f} ms")]
    if seconds > _SLOW_FSYNC:
        findings = [Finding(Level.WARN, f"spool: a durable write takes {seconds:.1f} s", "Use a faster disk.")]
    device = folder.stat().st_dev
    apart = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.stat().st_dev != device)
    if apart:
        what = f"spool: other file systems are mounted in it: {', '.join(apart)}"
        findings.append(Finding(Level.FAIL, what, "The whole spool must be one file system."))
    if settings.DATA_DIR.stat().st_mode & 0o077:
        what = "data directory: others on this machine may read it"
        findings.append(Finding(Level.FAIL, what, f"chmod 700 {settings.DATA_DIR}"))
    return findings


def _durable_write(folder: Path) -> float:
    """Seconds for what every received instance costs: write, fsync, rename, fsync of the folder."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as own:
        with (Path(own) / "new").open("wb") as file:
            file.write(b"fiducial")
            file.flush()
            os.fsync(file.fileno())
        (Path(own) / "new").rename(Path(own) / "kept")
        descriptor = os.open(own, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return time.monotonic() - started


def check_ports() -> list[Finding]:
    """Somebody listens where the settings say."""
    doors = {
        "web": (settings.HTTP_HOST, settings.HTTP_PORT),
        "DICOM": (settings.DICOM_HOST, settings.DICOM_PORT),
        "HL7": (settings.HL7_HOST, settings.HL7_PORT),
    }
    return [_door(name, host, port) for name, (host, port) in doors.items()]


def _door(name: str, host: str, port: int) -> Finding:
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not bound
    try:
        socket.create_connection((here, port), timeout=2).close()
    except OSError as error:
        what = f"{name}: nothing answers on {host} port {port}: {error.strerror or error}"
        return Finding(Level.FAIL, what, "Start Fiducial (manage.py up, or its units).")
    return Finding(Level.OK, f"{name}: port {port} accepts connections")


def check_clock() -> list[Finding]:
    """Our clock agrees with the database's and with what was recorded before."""
    try:
        theirs = WorkflowEvent.objects.order_by("-pk").values_list("at", flat=True).first()
        offset = _database_clock_offset()
    except DatabaseError:
        return []  # said by check_database
    if abs(offset) > _CLOCK_TOLERANCE:
        what = f"clock: {offset.total_seconds():+.0f} s from the database's"
        return [Finding(Level.FAIL, what, "Synchronize both machines with NTP.")]
    if theirs and theirs > timezone.now() + _CLOCK_TOLERANCE:
        what = "clock: the newest event lies in the future: a clock was set back"
        return [Finding(Level.FAIL, what, "Synchronize this machine with NTP.")]
    return [Finding(Level.OK, f"clock: {timezone.now():%Y-%m-%d %H:%M:%S} UTC")]


def check_kpis() -> list[Finding]:
    """The tallies of the last week are what a direct count over the events gives; what is under way is left out."""
    waiting = kpi_rollups.waiting().count()
    wrong = kpi_rollups.lasting_differences(since=(timezone.now() - _KPI_CHECKED).date())
    if wrong:
        what = f"kpis: {len(wrong)} tallies of the last week differ from a direct count over the events"
        return [Finding(Level.WARN, what, "Run `manage.py kpis --rebuild`.")]
    also = f"; still to be counted: {waiting:,}" if waiting else ""
    return [Finding(Level.OK, f"kpis: the tallies of the last week equal a direct count over the events{also}")]


def check_names() -> list[Finding]:
    """Every name is found by its words."""
    if lost := names.count_lost():
        what = f"names: {lost} or more of patients and images are found by no search"
        return [Finding(Level.WARN, what, "Run `manage.py names --mend`.")]
    return [Finding(Level.OK, "names: every name is found by its words")]


def _database_clock_offset() -> timedelta:
    if connection.vendor == "sqlite":
        return timedelta()  # the same clock
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        offset: timedelta = timezone.now() - cursor.fetchone()[0]
    return offset


def check_exposure() -> list[Finding]:
    """Who can reach us fits who is trusted; keys fit certificates."""
    findings = [
        Finding(Level.FAIL, f"trust: {message.msg}", message.hint or "")
        for message in run_checks(tags=[Tags.security], include_deployment_checks=True)
        if str(message.id).startswith("fiducial.")
    ]
    if os.geteuid() == 0:
        findings.append(Finding(Level.WARN, "user: running as root", "Use a service user (docs/operations.md)."))
    if settings.TLS_CERT or settings.TLS_KEY:
        findings.append(_certificate())
    return findings or [Finding(Level.OK, f"trust: {settings.TRUST}, fitting the bindings")]


def _certificate() -> Finding:
    if not (settings.TLS_CERT and settings.TLS_KEY):
        return Finding(Level.FAIL, "TLS: only half configured", "Set FIDUCIAL_TLS_CERT and FIDUCIAL_TLS_KEY, both.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.TLS_CERT, settings.TLS_KEY)
    except (OSError, ssl.SSLError) as error:
        return Finding(Level.FAIL, f"TLS: {error}", "Correct FIDUCIAL_TLS_CERT and FIDUCIAL_TLS_KEY.")
    return Finding(Level.OK, "TLS: certificate and key fit")
