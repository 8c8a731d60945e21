"""Who else has the same page open, told live on whatever two people can collide over."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from orchestrator.permissions import Viewer
from orchestrator.services import presence
from orchestrator.services.workflow import Subject

from . import replies, viewer_of

_PART = "components/presence.html"


def names_present(about: Subject, viewer: Viewer) -> list[str]:
    """The others who look at it now; asking says that the viewer looks too."""
    return [other.get_full_name() or other.username for other in presence.present(about, user_id=viewer.user_id)]


def told(
    request: HttpRequest, about: Subject, *, url: str, doing: str, news: str = "", show: str = ""
) -> dict[str, Any]:
    """What `components/presence.html` shows: `doing` follows each name, `url` is where it asks again.

    `news` is what changed since the page was opened, `show` the address of the page as it is now.
    """
    others = names_present(about, viewer_of(request))
    return {
        "others": others, "url": url, "doing": doing, "news": news, "show": show,
        "etag": replies.etag_of(viewer_of(request), (others, news)),
    }  # fmt: skip


def answer(request: HttpRequest, about: Subject, *, doing: str, news: str = "", show: str = "") -> HttpResponse:
    """The answer to its poll."""
    shown = told(request, about, url=request.get_full_path(), doing=doing, news=news, show=show)
    return replies.page(request, _PART, _PART, {"presence": shown}, version=(shown["others"], news))
