"""What of routing changes how things flow, for the control room (settings.CHANGES)."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.urls import reverse

from orchestrator.models import ActorKind
from orchestrator.permissions import Viewer, can
from routing.models import Destination, RuleSetVersion

_MOST = 10


def lately(viewer: Viewer, since: dt.datetime) -> Iterator[dict[str, Any]]:
    """Publications; destinations that were added, paused or changed; and those that do not answer."""
    if can(viewer, "routing.view"):
        published = RuleSetVersion.objects.filter(published_at__gte=since).select_related("published_by")
        for version in published.order_by("-published_at")[:_MOST]:
            who = version.published_by.get_full_name() or version.published_by.username
            yield {
                "at": version.published_at,
                "icon": "route",
                "text": f"Rules version {version.number} published",
                "sub": f"{who}, “{version.comment}”",
                "url": reverse("rule-set-version", args=[version.number]),
            }
    if can(viewer, "destinations.view"):
        yield from _destinations(since)


def _destinations(since: dt.datetime) -> Iterator[dict[str, Any]]:
    for row in Destination.history.filter(history_date__gte=since).order_by("-history_date", "-history_id")[:_MOST]:
        who = "" if row.actor_kind == ActorKind.SYSTEM else row.actor_name
        reason = f"“{row.history_change_reason}”" if row.history_change_reason else ""
        what = "added" if row.history_type == "+" else "paused" if row.paused else "changed"
        yield {
            "at": row.history_date,
            "icon": "pause" if row.paused else "send",
            "text": f"{row.name} {what}",
            "sub": ", ".join(filter(None, [who, reason])),
            "url": reverse("destination", args=[row.id]),
        }
    silent = Destination.objects.filter(line__attempts__gt=2, paused=False).select_related("line")
    for place in silent.exclude(line__next_attempt_at=None)[:_MOST]:
        yield {
            "at": place.line.next_attempt_at,
            "icon": "fail",
            "colour": "bad",
            "text": f"{place.name} does not answer",
            "sub": f"{place.line.attempts} times in a row; tried again at this time",
            "url": reverse("destination", args=[place.pk]),
        }
