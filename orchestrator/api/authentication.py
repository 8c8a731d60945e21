"""Who calls the REST API, and whether the action is theirs."""

from typing import TYPE_CHECKING, Any

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from orchestrator.models import ApiToken, User
from orchestrator.permissions import Viewer, can
from orchestrator.services.tokens import WRITE, find_token

if TYPE_CHECKING:
    # Imported by rest_framework.views itself, through the settings.
    from rest_framework.views import APIView


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Token KEY`."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        scheme, _, key = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "token":
            return None
        token = find_token(key.strip())
        if token is None:
            raise AuthenticationFailed("This token is unknown, expired or revoked.")
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Token"


def viewer_of(request: Request) -> Viewer:
    """The viewer behind an API request; a token without the write scope may only look."""
    token = request.auth
    may_write = not isinstance(token, ApiToken) or WRITE in token.scopes
    return Viewer.of(request.user, may_write=may_write)


class ActionPermission(BasePermission):
    """A view names what each of its actions needs in `required_actions`; what is not named is forbidden.

    Keys are DRF action names (viewsets) or lower-case HTTP methods; "*" stands for all others.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if not hasattr(view, str(request.method).lower()):
            # What nobody may do here is not forbidden but not offered: 405 says what is.
            return bool(viewer_of(request).user_id)
        table: dict[str, str] = getattr(view, "required_actions", {})
        name = getattr(view, "action", None) or str(request.method).lower()
        needed = table.get(name, table.get("*"))
        return needed is not None and can(viewer_of(request), needed)

    def has_object_permission(self, request: Request, view: "APIView", obj: Any) -> bool:
        # Objects come from selectors that are already scoped by `visible_to`.
        return True
