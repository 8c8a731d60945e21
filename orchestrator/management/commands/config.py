"""`manage.py config export|import FILE`: the whole configuration as one YAML file, without secrets."""

import difflib
import sys
from pathlib import Path
from typing import Any

import yaml
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from orchestrator.models import Actor, ActorKind, acting
from orchestrator.services.configuration import Unfit, export_all, import_all

_HEAD = "# Fiducial's configuration: `manage.py config import FILE --dry-run` says what this file would change.\n"


class Command(BaseCommand):
    help = "Write all configuration to a YAML file, or bring one in: all of it or nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("direction", choices=["export", "import"])
        parser.add_argument("file", help="a YAML file; - is standard output or input")
        parser.add_argument("--dry-run", action="store_true", help="import: only say what would change")

    def handle(self, *, direction: str, file: str, dry_run: bool, **options: Any) -> None:
        if direction == "import":
            self._bring_in(file, dry_run=dry_run)
        elif dry_run:
            raise CommandError("An export changes nothing: --dry-run is for an import.")
        elif file == "-":
            self.stdout.write(_text(), ending="")
        else:
            Path(file).write_text(_text(), encoding="utf-8")

    def _bring_in(self, file: str, *, dry_run: bool) -> None:
        given = self._read(file)
        with acting(Actor(ActorKind.SYSTEM, "manage.py config"), f"import of {Path(file).name}"), transaction.atomic():
            before = _text()
            try:
                import_all(given)
            except Unfit as error:
                raise CommandError(f"{file}: {error}. Nothing was changed.") from error
            after = _text()
            transaction.set_rollback(dry_run)
        changes = list(difflib.unified_diff(before.splitlines(), after.splitlines(), "now", file, lineterm="", n=3))
        for line in changes:
            self.stdout.write(line)
        said = "Nothing would change." if dry_run else "Nothing to change."
        self.stderr.write(("Nothing was changed: this was a dry run." if dry_run else "Done.") if changes else said)

    def _read(self, file: str) -> Any:
        try:
            return yaml.safe_load(sys.stdin if file == "-" else Path(file).read_text(encoding="utf-8"))
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}.") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CommandError(f"{file} is not YAML: {error}") from error


def _text() -> str:
    return _HEAD + yaml.safe_dump(export_all(), sort_keys=False, allow_unicode=True, width=120)
