"""Users and their roles."""

import secrets
import string

from django.contrib.auth.hashers import make_password
from django.db import transaction

from orchestrator.models import Role, RoleAssignment, User
from orchestrator.services.tokens import create_token, revoke_token

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


@transaction.atomic
def create_hospital_token() -> str:
    """A token for the simulated hospital, which introduces its archive and reads what became of its studies.

    Its user cannot sign in; the tokens of earlier runs are revoked.
    """
    user, _ = User.objects.get_or_create(username="simulated-hospital", defaults={"password": make_password(None)})
    RoleAssignment.objects.get_or_create(user=user, role=Role.PACS_ADMINISTRATOR, site=None)
    for token in user.api_tokens.filter(revoked_at__isnull=True):
        revoke_token(token)
    return create_token(user=user, name="this run", days=30)
