"""`manage.py up`: everything on this machine, from one command (docs/operations.md)."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connections

from orchestrator.services.users import (
    FIRST_ADMINISTRATOR,
    create_first_administrator,
    create_hospital_token,
    revoke_hospital_tokens,
)
from orchestrator.supervisor import fleet
from orchestrator.supervisor.broker import NoBroker, answers
from orchestrator.supervisor.console import Console
from orchestrator.supervisor.forks import CannotLoad, ForkServer
from orchestrator.supervisor.keeper import CannotStart
from orchestrator.supervisor.lock import AlreadyRunning, take_lock
from orchestrator.supervisor.notify import notify_ready
from orchestrator.supervisor.ports import PortUnusable, check_ports
from orchestrator.supervisor.process import Program
from orchestrator.supervisor.supervision import Supervisor

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Command(BaseCommand):
    help = "Migrate, then start and supervise every process of Fiducial on this machine until SIGTERM or Ctrl-C."
    requires_system_checks: list[str] = []  # the fork server runs them

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--simulate", action="store_true", help="also run a simulated hospital")
        parser.add_argument(
            "--die-with-parent", action="store_true", help="stop when the program that started this one is killed"
        )

    def handle(self, *, simulate: bool, die_with_parent: bool, **options: Any) -> None:
        if die_with_parent:
            _die_with_parent()
        try:
            lock = take_lock(settings.DATA_DIR / "up.lock")
            check_ports(fleet.ports())
            self._check_broker_socket()
            with ForkServer(fleet.environment()) as forks:
                # What cannot be loaded changes no database.
                forks.load()
                password = _prepare_database()
                revoke_hospital_tokens()
                programs = fleet.programs(forks, hospital_token=create_hospital_token() if simulate else "")
                _supervise(programs, lock, password)
        except CannotLoad:
            raise CommandError("Fiducial cannot be loaded: what is wrong stands above.") from None
        except (AlreadyRunning, PortUnusable, NoBroker, CannotStart) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            # The data directory is read-only or full, or the machine has no room for another process.
            raise CommandError(f"Fiducial cannot run on {settings.DATA_DIR}: {error}") from error
        except KeyboardInterrupt:
            raise CommandError("interrupted before anything was started", returncode=130) from None

    def _check_broker_socket(self) -> None:
        if settings.EMBEDDED_BROKER and answers(settings.BROKER_SOCKET):
            raise NoBroker(f"Another broker answers on {settings.BROKER_SOCKET}: stop it first.")


def _supervise(programs: Sequence[Program], lock: int, password: str | None) -> None:
    console = Console(sys.stdout, [program.name for program in programs])

    def when_up() -> None:
        console.block(_announcement(password))
        notify_ready()

    asyncio.run(Supervisor(programs, console, lock=lock).run(when_up))


def _prepare_database() -> str | None:
    """Migrate and make sure that somebody can sign in; the generated password, on the first start."""
    try:
        call_command("migrate", interactive=False, verbosity=0)
        return create_first_administrator(settings.ADMIN_PASSWORD or None)
    except DatabaseError as error:
        # A driver's message may have several lines; the first says what is wrong.
        reason = str(error).strip().partition("\n")[0]
        raise CommandError(f"The database cannot be used: {reason} (see DATABASE_URL).") from error
    finally:
        connections.close_all()


def _announcement(password: str | None) -> str:
    scheme = "https" if settings.TLS_CERT else "http"
    lines = [
        "",
        "  Fiducial is up.",
        f"  Portal    {scheme}://{_in_url(settings.HTTP_HOST)}:{settings.HTTP_PORT}/",
        f"  DICOM     AE title {settings.AE_TITLE} at {settings.DICOM_HOST} port {settings.DICOM_PORT}",
        f"  HL7       MLLP at {settings.HL7_HOST} port {settings.HL7_PORT}",
    ]
    if password:
        lines.append(f"  Sign in   {FIRST_ADMINISTRATOR} / {password}   (shown only now: change it after signing in)")
    else:
        lines.append(f"  Sign in   {FIRST_ADMINISTRATOR}, or your own name")
    lines += [f"  Stop      Ctrl-C, or kill {os.getpid()}", ""]
    return "\n".join(lines)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when our parent ends: `make` does not pass on that it was killed."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise CommandError("the program that started this one has ended already")
