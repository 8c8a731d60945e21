"""What was searched for is kept in the session under an opaque key: what identifies a patient stands in no URL."""

import secrets

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict

_KEPT = 20  # searches a session remembers, so that the way back works
_LONGEST = 200  # characters; no name or identifier is longer


def keep(request: HttpRequest) -> str:
    """Keep what was posted as `q`; answers its key, empty when nothing was typed."""
    text = request.POST.get("q", "").strip()[:_LONGEST]
    if not text:
        return ""
    key = secrets.token_urlsafe(9)
    searches: dict[str, str] = request.session.get("searches", {})
    request.session["searches"] = dict([*searches.items(), (key, text)][-_KEPT:])
    return key


def read(request: HttpRequest, key: str) -> str:
    """What the search with this key was for. Somebody else's, or one long ago: 404."""
    text = request.session.get("searches", {}).get(key)
    if text is None:
        raise Http404
    return str(text)


def remember(request: HttpRequest, to: str) -> HttpResponse:
    """Go to the list that is searched for what was posted."""
    key = keep(request)
    return HttpResponseRedirect(f"{to}?search={key}" if key else to)


def text_of(request: HttpRequest) -> str:
    """What this address's list is searched for; empty when it is not."""
    return text_in(request, request.GET)


def text_in(request: HttpRequest, query: QueryDict) -> str:
    """What a list under an address with this query is searched for."""
    key = query.get("search", "")
    return read(request, key) if key else ""
