"""`manage.py create_administrator`: the first person, where `up` does not make one (each process a unit of its own)."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from orchestrator.models import User
from orchestrator.services.users import FIRST_ADMINISTRATOR, create_first_administrator


class Command(BaseCommand):
    help = "Create `admin` on an installation without users and print its password (FIDUCIAL_ADMIN_PASSWORD is not)."

    def handle(self, **options: Any) -> None:
        if User.objects.exists():
            raise CommandError("There are users already: an administrator makes others in the portal.")
        password = create_first_administrator(settings.ADMIN_PASSWORD or None)
        self.stdout.write(password or f"{FIRST_ADMINISTRATOR} has the password of FIDUCIAL_ADMIN_PASSWORD")
