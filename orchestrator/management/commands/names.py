"""`manage.py names`: whether every name can be found by its words; with --mend, writes the words that are missing."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from orchestrator.services import names


class Command(BaseCommand):
    help = "Tell how many names no search finds, because their words are missing; exit status 1 where there are some."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--mend", action="store_true", help="write the missing words; workers may go on")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["mend"]:
            self.stdout.write(f"The words of {names.mend():,} names were written.")
        if lost := names.count_lost():
            self.stdout.write(f"At least {lost:,} names are not found by their words: run with --mend.")
            sys.exit(1)
        self.stdout.write(self.style.SUCCESS("Every name is found by its words."))
