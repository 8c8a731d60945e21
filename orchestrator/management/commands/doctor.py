"""`manage.py doctor`: examines the installation and says what to do."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from orchestrator.services.diagnostics import Finding, Level, examine


class Command(BaseCommand):
    help = "Check database, broker, disk, spool, ports, clock, trust and peers. Exit status 1 when something fails."
    requires_system_checks: list[str] = []  # a broken setting is one of the things to find

    def handle(self, *args: Any, **options: Any) -> None:
        failed = False
        for finding in examine():
            self._tell(finding)
            failed |= finding.level is Level.FAIL
        if failed:
            sys.exit(1)

    def _tell(self, finding: Finding) -> None:
        style = {Level.OK: self.style.SUCCESS, Level.WARN: self.style.WARNING, Level.FAIL: self.style.ERROR}
        self.stdout.write(f"{style[finding.level](f'{finding.level:<4}')}  {finding.what}")
        if finding.advice:
            self.stdout.write(f"      -> {finding.advice}")
