"""The worklist as a board: each station's steps of a day, by time."""

import datetime as dt
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from orchestrator import selectors
from orchestrator.audit import record_access
from orchestrator.models import ScheduledProcedureStep
from orchestrator.permissions import require
from orchestrator.states import STEP_ON_WORKLIST
from orchestrator.views import lists, replies, viewer_of

_STEPS = 1000  # of one day; more than any board is read for


def _day(request: HttpRequest) -> dt.date:
    try:
        return dt.date.fromisoformat(request.GET.get("day", ""))
    except ValueError:
        return timezone.localdate()


def _stations(steps: list[ScheduledProcedureStep]) -> list[dict[str, Any]]:
    """Steps under each of their stations; those without one under `Any station`, last."""
    by_station: dict[str, list[ScheduledProcedureStep]] = {}
    for step in steps:
        for title in step.station_ae_titles or [""]:
            by_station.setdefault(title, []).append(step)
    return [
        {
            "title": title,
            "steps": by_station[title],
            "open": sum(step.status in STEP_ON_WORKLIST for step in by_station[title]),
        }
        for title in sorted(by_station, key=lambda title: (not title, title))
    ]


@require_GET
def board(request: HttpRequest) -> HttpResponse:
    """The steps of a day (`?day=2026-11-16`, else today) by station."""
    viewer = viewer_of(request)
    require(viewer, "worklist.view")
    day, site = _day(request), lists.site_filter(request)
    queryset = selectors.steps_of_day(viewer, day)
    if site:
        queryset = queryset.filter(site_id=int(site))
    steps = list(queryset[:_STEPS])
    record_access(
        viewer, "worklist.view", "step", number_of_records=len(steps), address=request.META.get("REMOTE_ADDR")
    )
    context = {
        "section": "worklist",
        "heading": "Worklist",
        "subtitle": f"{day:%A %d %B %Y}, {len(steps)} steps",
        "stations": _stations(steps),
        "days": [
            {"label": label, "url": lists.address(request, day=day + dt.timedelta(days=shift)), "active": shift == 0}
            for label, shift in (("Day before", -1), (day.isoformat(), 0), ("Day after", 1))
        ],
        "here": request.get_full_path(),
    }
    version = (request.get_full_path(), [(step.pk, step.status, step.start_time) for step in steps])
    return replies.page(request, "worklists/board.html", "worklists/_board.html", context, version=version)
