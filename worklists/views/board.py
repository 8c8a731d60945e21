"""The worklist as a board: each station's steps of a day, by how far they are, and what the station last asked."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from orchestrator import selectors
from orchestrator.models import ScheduledProcedureStep, Site
from orchestrator.permissions import Viewer, require, visible_to
from orchestrator.states import STEP_ON_WORKLIST, StepStatus
from orchestrator.views import lists, replies, viewer_of
from worklists.models import WorklistQuery
from worklists.selectors import last_questions
from worklists.views import questions

_STEPS = 5000  # of one day; more than any board is read for
_IN_A_LANE = 3  # of many stations; of one station all
_NO_STATION = "*"  # in the address; no AE title looks so
_ASKED_WITHIN = dt.timedelta(days=1)
# Heading → the states that stand below it. The first one goes without saying.
LANES: Mapping[str, tuple[str, ...]] = {
    "Scheduled": (StepStatus.SCHEDULED, StepStatus.ON_HOLD),
    "Arrived": (StepStatus.ARRIVED, StepStatus.READY),
    "In progress": (StepStatus.STARTED,),
    "Completed": (StepStatus.COMPLETED,),
    "Not done": ("", StepStatus.EXPIRED, StepStatus.CANCELED, StepStatus.DISCONTINUED),
}


class _Step(NamedTuple):
    """What every step of the day is sorted and counted by."""

    pk: int
    status: str
    modality: str
    station_ae_titles: Sequence[str]
    site: str


class _Told(NamedTuple):
    """What the board says of a step that has a place on it."""

    start_time: dt.time | None
    order: int
    name: str
    description: str
    procedure: str
    modality: str


def _today(viewer: Viewer, site: str) -> dt.date:
    """Where the steps are: of the chosen site, else of the first that the viewer sees."""
    sites = visible_to(Site.objects.order_by("pk"), viewer, "worklist.view")
    zone = (sites.filter(pk=int(site)) if site else sites).values_list("time_zone", flat=True).first()
    return timezone.localdate(timezone=ZoneInfo(zone) if zone else None)


def _day(request: HttpRequest, today: dt.date) -> dt.date:
    try:
        day = dt.date.fromisoformat(request.GET.get("day", ""))
    except ValueError:
        return today
    # There is a day before it and one after it.
    return day if dt.date.min < day < dt.date.max else today


def _lane(heading: str, steps: Sequence[_Step], limit: int | None) -> dict[str, Any]:
    states = LANES[heading]
    here = [step for step in steps if step.status in states]
    # What is done is counted, and the last one told; what waits is listed from the first on.
    told = here[-1:] if heading == "Completed" and limit else here[:limit]
    return {
        "heading": heading,
        "count": len(here),
        "steps": told,
        "more": len(here) - len(told),
    }


def _station(
    title: str, steps: Sequence[_Step], question: WorklistQuery | None, today: dt.date, *, alone: bool
) -> dict[str, Any]:
    waiting = sum(step.status in STEP_ON_WORKLIST for step in steps)
    return {
        "title": title,
        "sites": sorted({step.site for step in steps}),
        "modalities": sorted({step.modality for step in steps if step.modality}),
        "lanes": [_lane(heading, steps, None if alone else _IN_A_LANE) for heading in LANES],
        "question": questions.said(question, waiting=waiting, today=today) if question else None,
    }


def _stations(
    steps: Sequence[_Step], asked: Mapping[str, WorklistQuery], today: dt.date, only: str
) -> list[dict[str, Any]]:
    """A row for each station that has steps or has asked; steps without a station come last, as `Any station`."""
    by_station: dict[str, list[_Step]] = {title: [] for title in asked}
    for step in steps:
        for title in step.station_ae_titles or [""]:
            by_station.setdefault(title, []).append(step)
    titles = sorted(by_station, key=lambda title: (not title, title))
    return [
        _station(title, by_station[title], asked.get(title), today, alone=bool(only))
        for title in titles
        if only in ("", title or _NO_STATION)
    ]


def _tell(viewer: Viewer, stations: Iterable[dict[str, Any]]) -> int:
    """Say what each step that has a place is, and of whom: a busy day has many more steps than places. How many are."""
    lanes = [lane for station in stations for lane in station["lanes"]]
    rows = visible_to(ScheduledProcedureStep.objects.all(), viewer, "worklist.view").filter(
        pk__among=sorted({step.pk for lane in lanes for step in lane["steps"]})
    )
    order = "procedure__order"
    found = rows.values_list(
        "pk", "start_time", order, f"{order}__patient__name", "description", "procedure__description", "modality"
    )
    told = {pk: _Told._make(rest) for pk, *rest in found}
    for lane in lanes:
        first = LANES[lane["heading"]][0]
        lane["steps"] = [
            {"told": told[step.pk], "state": "" if step.status == first else step.status}
            for step in lane["steps"]
            if step.pk in told
        ]
    return len(told)


def _days(request: HttpRequest, day: dt.date, today: dt.date) -> list[dict[str, Any]]:
    shown = [
        (f"{day - dt.timedelta(1):%a %d %b}", -1),
        (f"{day:%a %d %b}", 0),
        (f"{day + dt.timedelta(1):%a %d %b}", 1),
    ]
    tabs = [
        {
            "label": "Today" if day + dt.timedelta(shift) == today else label,
            "url": lists.address(request, day=day + dt.timedelta(shift)),
            "active": shift == 0,
        }
        for label, shift in shown
    ]
    is_near = abs((day - today).days) <= 1
    return tabs if is_near else [*tabs, {"label": "Today", "url": lists.address(request, day=""), "active": False}]


@require_GET
def board(request: HttpRequest) -> HttpResponse:
    """The steps of a day (`?day=2026-11-16`, else today) by station (`?station=CT_1`: that one, with all of them)."""
    viewer = viewer_of(request)
    require(viewer, "worklist.view")
    site, only = lists.site_filter(request), request.GET.get("station", "")
    today = _today(viewer, site)
    day = _day(request, today)
    queryset = selectors.steps_of_day(viewer, day)
    asked = last_questions(viewer, timezone.now() - _ASKED_WITHIN) if day == today else {}
    if site:
        queryset = queryset.filter(site_id=int(site))
        asked = {title: question for title, question in asked.items() if question.site_id == int(site)}
    found = queryset.values_list("pk", "status", "modality", "station_ae_titles", "site__name")[: _STEPS + 1]
    steps = list(map(_Step._make, found))
    left_out = len(steps) > _STEPS
    del steps[_STEPS:]
    stations = _stations(steps, asked, today, only)
    told = _tell(viewer, stations)
    lanes = [(heading, sum(step.status in states for step in steps)) for heading, states in LANES.items()]
    context = {
        "section": "worklist",
        "heading": "Worklist",
        "subtitle": f"{day:%A %d %B %Y}",
        "lanes": lanes,
        "stations": [
            {**station, "url": lists.address(request, station=station["title"] or _NO_STATION)} for station in stations
        ],
        "only": only,
        "first": _STEPS if left_out else 0,
        "every_station": lists.address(request, station=""),
        "days": _days(request, day, today),
        "here": request.get_full_path(),
    }
    version = (request.get_full_path(), today, lanes, stations, left_out)
    return replies.page(
        request, "worklists/board.html", "worklists/_board.html", context, version=version,
        looked=replies.Look("worklist.view", "step", told),
    )  # fmt: skip
