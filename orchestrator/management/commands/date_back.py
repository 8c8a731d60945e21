"""`manage.py date_back REPORT…`: what a simulated hospital played becomes weeks of history (docs/simulator.md)."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from orchestrator.models import Actor, ActorKind, acting
from orchestrator.services.dating import Unfit, date_back, span


class Command(BaseCommand):
    help = (
        "For demonstration installations only: set everything that `simulate --history` played back to when its report "
        "says that it happened. Refused when a patient, an order or a study here is from elsewhere."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("reports", nargs="+", type=Path, metavar="REPORT", help="report of `simulate --history`")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be moved")

    def handle(self, *, reports: list[Path], dry_run: bool, **options: Any) -> None:
        calendar = [exam for report in reports for exam in self._calendar(report)]
        try:
            with acting(Actor(ActorKind.SYSTEM, "manage.py date_back")), transaction.atomic():
                moved = date_back(calendar)
                transaction.set_rollback(dry_run)
        except Unfit as error:
            raise CommandError(f"{error} Nothing was changed.") from error
        for name, rows in moved.items():
            self.stdout.write(f"{rows:9,} {name}")
        days = [moment.date() for moment in span(calendar)]
        told = f"{len(calendar)} exams from {min(days)} to {max(days)}"
        if not moved:
            self.stderr.write(f"Nothing to move: {told} are where they belong.")
        else:
            self.stderr.write(f"{told}: would be moved; this was a dry run." if dry_run else f"{told}: moved.")

    def _calendar(self, report: Path) -> list[dict[str, Any]]:
        try:
            calendar = json.loads(report.read_text(encoding="utf-8")).get("calendar")
        except OSError as error:
            raise CommandError(f"{report}: {error.strerror}.") from error
        except (ValueError, AttributeError) as error:
            raise CommandError(f"{report} is no report of the simulator.") from error
        if not calendar:
            raise CommandError(f"{report} has no calendar: it is not of `simulate --history`.")
        return list(calendar)
