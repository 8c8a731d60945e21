"""REST API tokens: shown once, stored hashed, scoped, expiring."""

import hashlib
import secrets
from datetime import timedelta

from django.utils import timezone

from orchestrator.models import ApiToken, User

READ, WRITE = "read", "write"
DEFAULT_DAYS = 365


def create_token(*, user: User, name: str, scopes: tuple[str, ...] = (READ, WRITE), days: int = DEFAULT_DAYS) -> str:
    """Make a token and answer its key, which cannot be read again."""
    key = secrets.token_urlsafe(32)
    ApiToken.objects.create(
        user=user,
        name=name,
        digest=_digest(key),
        prefix=key[:6],
        scopes=list(scopes),
        expires_at=timezone.now() + timedelta(days=days),
    )
    return key


def find_token(key: str) -> ApiToken | None:
    """The valid token with this key: not expired, not revoked, of an active user."""
    now = timezone.now()
    token = (
        ApiToken.objects.select_related("user")
        .filter(digest=_digest(key), expires_at__gt=now, revoked_at__isnull=True, user__is_active=True)
        .first()
    )
    if token and (token.last_used_at is None or now - token.last_used_at > timedelta(minutes=5)):
        # A coarse note, without history: a row written per request would serialise all readers.
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token


def revoke_token(token: ApiToken) -> None:
    token.revoked_at = timezone.now()
    token.save(update_fields=["revoked_at"])


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
