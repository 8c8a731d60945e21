"""`manage.py create_token USER`: a key for the REST API, and nothing else on standard output."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orchestrator.models import User
from orchestrator.services.tokens import create_token


class Command(BaseCommand):
    help = "Print a new REST API token of a user. It cannot be read again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="user name")
        parser.add_argument("--name", default="command line", help="what the token is for")

    def handle(self, *, user: str, name: str, **options: Any) -> None:
        owner = User.objects.filter(username=user, is_active=True).first()
        if owner is None:
            raise CommandError(f"There is no active user '{user}'.")
        self.stdout.write(create_token(user=owner, name=name))
