"""Users and their roles."""

import secrets
import string
from typing import Any

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import QuerySet

from orchestrator.models import ApiToken, Role, RoleAssignment, Site, User
from orchestrator.services.tokens import create_token, revoke_token

FIRST_ADMINISTRATOR = "admin"
_HOSPITAL = "simulated-hospital"
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
    """A token for the simulated hospital, which introduces its sites and archives and reads what became of its studies.

    Its user cannot sign in.
    """
    user, _ = User.objects.get_or_create(username=_HOSPITAL, defaults={"password": make_password(None)})
    RoleAssignment.objects.get_or_create(user=user, role=Role.ADMINISTRATOR, site=None)
    return create_token(user=user, name="this run", days=30)


def revoke_hospital_tokens() -> None:
    """Of earlier runs: an administrator's, which nobody needs any more."""
    for token in ApiToken.objects.filter(user__username=_HOSPITAL, revoked_at__isnull=True):
        revoke_token(token)


class LastAdministrator(Exception):
    """Without an administrator of all sites nobody could let anybody in again."""


@transaction.atomic
def create_user(
    *, username: str, password: str, role: str, site: Site | None, first_name: str = "", last_name: str = ""
) -> User:
    """A person who may come in, with a first role at a site (None: at all sites)."""
    user = User.objects.create_user(username, password=password, first_name=first_name, last_name=last_name)
    RoleAssignment.objects.create(user=user, role=role, site=site)
    return user


def assign_role(*, user: User, role: str, site: Site | None) -> RoleAssignment:
    """One more role; the same again changes nothing."""
    return RoleAssignment.objects.get_or_create(user=user, role=role, site=site)[0]


@transaction.atomic
def remove_role(assignment: RoleAssignment) -> None:
    """Take a role away. Raises LastAdministrator for the last active administrator of all sites."""
    if list(_administrators()) == [assignment]:
        raise LastAdministrator(f"{assignment.user.username} is the last administrator of all sites and stays one.")
    assignment.delete()


def _administrators() -> QuerySet[RoleAssignment]:
    """Those of all sites who may sign in, locked: two of them cannot send each other away."""
    everybody = RoleAssignment.objects.select_for_update(of=("self",)).filter(
        role=Role.ADMINISTRATOR, site=None, user__is_active=True
    )
    return everybody.exclude(user__username=_HOSPITAL)


@transaction.atomic
def change_user(*, user: User, password: str = "", **columns: Any) -> None:
    """Change names, `is_active`, and (with a new one) the password; what the person has open then asks to sign in.

    Who is not active comes in neither by password nor by token. Raises LastAdministrator.
    """
    if not columns.get("is_active", True) and {each.user_id for each in _administrators()} == {user.pk}:
        raise LastAdministrator(f"{user.username} is the last administrator of all sites and stays one.")
    for name, value in columns.items():
        setattr(user, name, value)
    if password:
        user.set_password(password)
    user.save()
