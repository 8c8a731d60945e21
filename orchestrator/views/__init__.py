"""The pages of the ground."""

from django.http import HttpRequest

from orchestrator.permissions import Viewer


def viewer_of(request: HttpRequest) -> Viewer:
    """Who asks, as ActorMiddleware found out."""
    viewer: Viewer = request.viewer  # type: ignore[attr-defined]  # set by ActorMiddleware
    return viewer
