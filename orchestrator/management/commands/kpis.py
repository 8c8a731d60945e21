"""`manage.py kpis`: whether the tallies of the KPIs are what a direct count gives; with --rebuild, makes them so."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from orchestrator.services import kpi_rollups


class Command(BaseCommand):
    help = (
        "Compare the tallies of the KPIs with a direct count over all events; exit status 1 where they differ, "
        "apart from what workers count meanwhile. "
        "--rebuild computes all anew: after a site's time zone has changed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rebuild", action="store_true", help="compute facts and tallies anew; workers may go on")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["rebuild"]:
            self.stdout.write(f"{kpi_rollups.rebuild()} facts counted.")
        wrong = kpi_rollups.lasting_differences()
        for key, (kept, counted) in sorted(wrong.items(), key=str):
            self.stdout.write(f"{' '.join(map(str, key))}: tally {kept}, direct count {counted}")
        if wrong:
            sys.exit(1)
        self.stdout.write(self.style.SUCCESS("The tallies equal a direct count over the events."))
