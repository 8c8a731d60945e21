"""`manage.py worklist`: whether every step is found by its stations; with --mend, writes the entries of those anew."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from worklists.services import lost


class Command(BaseCommand):
    help = "Tell how many steps on the worklist are missing at their stations; exit status 1 where there are some."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--mend", action="store_true", help="write their entries anew; workers may go on")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["mend"]:
            self.stdout.write(f"The entries of {lost.mend():,} steps were written anew.")
        if number := lost.count_lost():
            self.stdout.write(f"{number:,} steps are missing at their stations: run with --mend.")
            sys.exit(1)
        self.stdout.write(self.style.SUCCESS("Every step on the worklist is found by its stations."))
