"""The command palette's answers while somebody types. A POST: what identifies a patient stands in no URL."""

from itertools import groupby
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from orchestrator.audit import record_access
from orchestrator.permissions import Viewer, can

from . import recent, replies, search, viewer_of
from .commands import commands
from .shell import NAVIGATION

# Of each kind; who has more goes to the page of the search.
_EACH = 5
# A letter finds half of the hospital.
_SHORTEST = 2
_LONGEST = 200


def _pages(viewer: Viewer, text: str) -> list[dict[str, Any]]:
    """The pages of the navigation with all words of the text."""
    wanted = text.lower().split()
    return [
        {"kind": "Pages", "icon": entry.icon, "title": entry.label, "url": entry.url, "chord": ["g", entry.key]}
        for entries in NAVIGATION.values()
        for entry in entries
        if can(viewer, entry.action) and all(word in entry.label.lower() for word in wanted)
    ]


@require_POST
def palette(request: HttpRequest) -> HttpResponse:
    """What was typed finds; with nothing typed what was opened last, and the pages."""
    viewer = viewer_of(request)
    text = request.POST.get("q", "").strip()[:_LONGEST]
    hits = search.hits(viewer, text, _EACH) if len(text) >= _SHORTEST else []
    opened = [] if text else recent.recalled(request, viewer)
    if seen := [*opened, *hits]:
        record_access(viewer, "search", "hit", number_of_records=len(seen), address=request.META.get("REMOTE_ADDR"))
    rows = [*seen, *_pages(viewer, text), *commands(viewer, text)]
    numbered = [{**row, "id": f"palette-{number}"} for number, row in enumerate(rows)]
    groups = [(kind, list(group)) for kind, group in groupby(numbered, key=lambda row: row["kind"])]
    part = "components/palette_found.html"
    return replies.page(request, part, part, {"groups": groups, "number": len(rows), "text": text})
