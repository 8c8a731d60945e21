"""What a person opened last, for the palette: ids in their session, named anew each time by who may see them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest
from django.utils.module_loading import import_string

from orchestrator.permissions import Viewer

from . import replies

_KEPT = 8

Recall = Callable[[Viewer, Sequence[int]], Iterable[dict[str, Any]]]


def remember(request: HttpRequest, kind: str, key: int) -> None:
    """The thing was opened. `kind` is one of settings.RECENT."""
    if replies.is_fragment(request):
        return  # a poll opens nothing
    recent: list[list[Any]] = request.session.get("recent", [])
    if recent[:1] != [[kind, key]]:
        request.session["recent"] = [[kind, key], *(each for each in recent if each != [kind, key])][:_KEPT]


def recalled(request: HttpRequest, viewer: Viewer) -> list[dict[str, Any]]:
    """What was opened last, the last first, as far as the viewer may (still) see it."""
    recent: list[list[Any]] = request.session.get("recent", [])
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for kind in {kind for kind, _ in recent if kind in settings.RECENT}:
        recall = cast("Recall", import_string(settings.RECENT[kind]))
        for hit in recall(viewer, [key for each, key in recent if each == kind]):
            found[kind, hit["key"]] = {**hit, "kind": "Recent"}
    return [found[kind, key] for kind, key in recent if (kind, key) in found]
