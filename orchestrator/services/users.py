"""Users and their roles."""

import secrets
import string

from django.db import transaction

from orchestrator.models import Role, RoleAssignment, User

FIRST_ADMINISTRATOR = "admin"
# Read from a screen and typed: no letters and digits that look alike. 20 of 54 are 115 bits.
_ALPHABET = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lIi5S")))
_LENGTH = 20


@transaction.atomic
def create_first_administrator(password: str | None) -> str | None:
    """On an installation without any user, create `admin`, administrator of all sites.

    Returns the password when it was generated here, to be shown once; None when one was given or there is nothing
    to do.
    """
    if User.objects.exists():
        return None
    chosen = password or "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    user = User.objects.create_user(FIRST_ADMINISTRATOR, password=chosen)
    RoleAssignment.objects.create(user=user, role=Role.ADMINISTRATOR)
    return None if password else chosen
