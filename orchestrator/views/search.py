"""The search box: a POST whose result has an opaque address, since what identifies a patient stands in no URL."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.module_loading import import_string
from django.views.decorators.http import require_GET, require_POST

from orchestrator.audit import record_access
from orchestrator.permissions import Viewer

from . import replies, searches, viewer_of

# Of one kind; who has more names what they mean more closely.
_EACH = 20


def hits(viewer: Viewer, text: str, most: int) -> list[Mapping[str, Any]]:
    """What every provider finds for this viewer, `most` of each kind: `{kind, key, icon, title, ident, sub, url}`."""
    found: list[Mapping[str, Any]] = []
    for name in settings.SEARCH_PROVIDERS:
        found.extend(cast("Iterable[Mapping[str, Any]]", import_string(name)(viewer, text, most)))
    return found


@require_POST
def search(request: HttpRequest) -> HttpResponse:
    """Remember what was typed under an opaque key, and go to its page."""
    key = searches.keep(request)
    return HttpResponseRedirect(reverse("search-result", args=[key]) if key else "/")


@require_GET
def result(request: HttpRequest, key: str) -> HttpResponse:
    """What was found, by kind; a single hit is opened at once."""
    text = searches.read(request, key)
    viewer = viewer_of(request)
    found = hits(viewer, text, _EACH)
    record_access(viewer, "search", "hit", number_of_records=len(found), address=request.META.get("REMOTE_ADDR"))
    if len(found) == 1:
        return HttpResponseRedirect(str(found[0]["url"]))
    groups = [(kind, list(group)) for kind, group in groupby(found, key=lambda hit: hit["kind"])]
    return replies.page(
        request,
        "orchestrator/search.html",
        "orchestrator/_search.html",
        {"heading": "Search", "text": text, "groups": groups, "number": len(found)},
    )
