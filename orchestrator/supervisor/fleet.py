"""The programs of one Fiducial, from its settings."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from django.conf import settings

from orchestrator.supervisor.broker import broker_command, set_aside
from orchestrator.supervisor.forks import ForkServer
from orchestrator.supervisor.ports import Port, spare_ports
from orchestrator.supervisor.process import Program
from orchestrator.supervisor.readiness import AnswersHttp, AtOnce, BrokerAnswers, Notifies, Probe

POOLS = ("hl7", "deliver", "rest")
"""Queues, each with a worker pool of its own: dead destinations never starve the rest (promise 4)."""

BROKER, WORKERS, DOORS, HOSPITAL = range(4)
_ARCHIVE_PORT = 11113
_ROOT_IS_SAID_BY_DOCTOR = "ignore:You're running the worker with superuser privileges"


def ports() -> list[Port]:
    """Where the programs will listen."""
    return [
        Port("web", settings.HTTP_HOST, settings.HTTP_PORT, "FIDUCIAL_HTTP"),
        Port("DICOM", settings.DICOM_HOST, settings.DICOM_PORT, "FIDUCIAL_DICOM"),
        Port("HL7", settings.HL7_HOST, settings.HL7_PORT, "FIDUCIAL_HL7"),
    ]


def programs(forks: ForkServer, *, hospital_token: str = "") -> list[Program]:
    """Every program: the broker first, then workers, then the doors, and the simulated hospital (with a token) last.

    Django's system checks take a second of CPU in each process; the fork server has run them for all.
    """
    python = [*_workers(), *_doors(), *(_hospital(hospital_token) if hospital_token else [])]
    return [*_broker(), *(replace(program, forks=forks) for program in python)]


def _broker() -> list[Program]:
    if not settings.EMBEDDED_BROKER:
        return []
    folder = settings.DATA_DIR / "broker"
    folder.mkdir(mode=0o700, exist_ok=True)
    argv = broker_command(data_dir=folder, socket_path=settings.BROKER_SOCKET)
    probe = BrokerAnswers(settings.BROKER_SOCKET)
    return [Program("broker", tuple(argv), BROKER, probe, mend=partial(set_aside, folder))]


def _workers() -> list[Program]:
    # Gossip, mingle and heartbeats serve clusters of workers that watch each other; our rows do that.
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    size = ("--concurrency", str(settings.WORKERS))
    pools = [_celery(f"worker-{queue}", "worker", "-Q", queue, "-n", f"{queue}@%h", *size, *quiet) for queue in POOLS]
    schedule = str(settings.DATA_DIR / "beat-schedule")
    return [*pools, _celery("beat", "beat", "--schedule", schedule, "--pidfile", "")]


def _doors() -> list[Program]:
    answers = AnswersHttp(settings.HTTP_HOST, settings.HTTP_PORT, "/readyz", tls=settings.TLS_CERT is not None)
    return [
        _django("web", "web", "--skip-checks", wave=DOORS, probe=answers),
        _django("dicom", "listen_dicom", "--skip-checks", wave=DOORS, probe=Notifies()),
        _django("hl7", "listen_hl7", "--skip-checks", wave=DOORS, probe=Notifies()),
    ]


def _hospital(token: str) -> list[Program]:
    # With moods and all archives, so that retries and a dead destination are seen. Without people at the queue: its
    # cases are for whoever tries Fiducial out.
    archive = str(spare_ports(_ARCHIVE_PORT, 3))
    words = ("simulate", "--archive-port", archive, "--archives", "3", "--moody", "--faults", "0.15", "--introduce")
    program = _django("hospital", *words, wave=HOSPITAL, probe=AtOnce())
    # The token not on the command line, where every user of the machine could read it.
    return [replace(program, environment={**program.environment, "FIDUCIAL_TOKEN": token})]


def _celery(name: str, *words: str) -> Program:
    argv = (
        sys.executable,
        "-m",
        "celery",
        "--quiet",
        "--skip-checks",
        "-A",
        "orchestrator",
        *words,
        "--loglevel",
        "INFO",
    )
    # A warm shutdown finishes the task at hand; what takes longer is leased to another worker later.
    return Program(name, argv, WORKERS, Notifies(), environment(), grace=20.0)


def _django(name: str, *words: str, wave: int, probe: Probe) -> Program:
    argv = (sys.executable, str(settings.BASE_DIR / "manage.py"), *words)
    return Program(name, argv, wave, probe, environment())


def environment() -> dict[str, str]:
    """The same settings for all, whatever folder `up` was started in; lines come out as they are written."""
    paths: Sequence[str] = [str(settings.BASE_DIR), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"],
        "FIDUCIAL_DATA_DIR": str(Path(settings.DATA_DIR)),
        "FIDUCIAL_ADMIN_PASSWORD": "",  # for the first start only, which `up` did itself
        "NOTIFY_SOCKET": "",  # systemd waits for `up`, not for its children
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": _ROOT_IS_SAID_BY_DOCTOR,
    }
