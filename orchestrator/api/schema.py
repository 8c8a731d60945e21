"""The OpenAPI description, for whoever may sign in."""

from typing import Any

from django.urls import URLPattern, URLResolver, path
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.views import SpectacularAPIView

from orchestrator.api.authentication import ActionPermission


class _TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself, untyped
    target_class = "orchestrator.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Token KEY"}


class Schema(SpectacularAPIView):
    """The whole API as OpenAPI 3."""

    permission_classes = (ActionPermission,)
    required_actions = {"get": "sites.view"}


urlpatterns: list[URLPattern | URLResolver] = [path("", Schema.as_view(), name="schema")]
