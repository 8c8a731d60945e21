"""What no request may hold; the request's viewer, actor and time zone."""

from collections.abc import Callable
from zoneinfo import ZoneInfo

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from orchestrator.models import SYSTEM, Actor, ActorKind, Site, User, acting
from orchestrator.permissions import Viewer
from orchestrator.selectors import holds_nul


class NulMiddleware:
    """Refuses an address or a form that holds a NUL, which no text of PostgreSQL can: else each view would have to."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\0" in request.path_info or holds_nul(request.GET):
            raise BadRequest("An address holds a NUL.")
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: object) -> None:
        """Forms, once they were let in. What programs send is checked by the serializers."""
        if request.path_info[:5] != "/api/" and holds_nul(request.POST):
            raise BadRequest("A form holds a NUL.")


class ActorMiddleware:
    """Whatever a request writes is recorded as done by its user; views find `request.viewer`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = request.user
        actor = Actor(ActorKind.USER, user.get_username(), user.pk) if isinstance(user, User) else SYSTEM
        viewer = Viewer.of(user)
        request.viewer = viewer  # type: ignore[attr-defined]  # read through views.viewer_of
        # Programs get UTC, whoever asks for them.
        zone = _zone(user, viewer, request) if isinstance(user, User) and request.path_info[:5] != "/api/" else None
        with acting(actor), timezone.override(zone):
            return self.get_response(request)


def _zone(user: User, viewer: Viewer, request: HttpRequest) -> ZoneInfo | None:
    """What the clock shows where the person works: at the site of the top bar, else at the first one of theirs."""
    if user.time_zone:
        return ZoneInfo(user.time_zone)
    sites = Site.objects.order_by("pk")
    if None not in viewer.roles:
        sites = sites.filter(pk__in=[site for site in viewer.roles if site is not None])
    zones = dict(sites.values_list("pk", "time_zone"))
    zone = zones.get(request.session.get("site") or 0) or next(iter(zones.values()), None)
    return ZoneInfo(zone) if zone else None
