"""The request's viewer and actor."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from orchestrator.models import SYSTEM, Actor, ActorKind, User, acting
from orchestrator.permissions import Viewer


class ActorMiddleware:
    """Whatever a request writes is recorded as done by its user; views find `request.viewer`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = request.user
        actor = Actor(ActorKind.USER, user.get_username(), user.pk) if isinstance(user, User) else SYSTEM
        request.viewer = Viewer.of(user)  # type: ignore[attr-defined]  # read through views.viewer_of
        with acting(actor):
            return self.get_response(request)
