"""What flows on the rails now, beside what is usual at this hour; how long it takes; and what people changed.

The usual is that of the same weekday and hour in the four weeks before. Numbers only, no names.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean, quantiles
from typing import Any, NamedTuple, TypeVar, cast

from django.conf import settings
from django.core.cache import cache
from django.utils import timezone
from django.utils.module_loading import import_string

from orchestrator.models import InboundMessage, WorkflowEvent
from orchestrator.permissions import Viewer, visible_to

from . import events

# What is counted on each rail.
_COUNTED: Mapping[str, tuple[str, ...]] = {
    "Identity": ("patient.registered", "patient.updated"),
    "Orders": ("order.placed", "order.changed"),
    "Worklist": ("mpps.created",),
    "Images": ("study.received",),
}
_UNITS: Mapping[str, str] = {
    "Identity": "patients new or changed", "Orders": "orders new or changed", "Worklist": "procedures begun",
    "Images": "studies received",
}  # fmt: skip
# How long it takes from one event of a study to another.
_TAKES: Mapping[str, tuple[str, str]] = {
    "Identity": ("study.received", "study.reconciled"),
    "Images": ("delivery.queued", "delivery.sent"),
}
_BIN, _BINS, _WEEKS = dt.timedelta(minutes=15), 12, 4
_HOUR = 4  # bins
_NOW_KEPT, _USUAL_KEPT = 20, 900  # seconds
_MOST = 1000  # of the latest that a latency is told of


_T = TypeVar("_T")


# Each rail's numbers by quarter of an hour.
Quarters = dict[str, list[int]]


class Pulse(NamedTuple):
    """One rail: what happened in each quarter of the last three hours, and the least and most that is usual."""

    values: Sequence[int]
    low: Sequence[float]
    high: Sequence[float]
    usual: float | None
    unit: str

    @property
    def label(self) -> str:
        """The picture in words."""
        hour = sum(self.values[-_HOUR:])
        if self.usual is None:
            return f"{self.unit.capitalize()}, 3 hours: {hour} in the last hour; what is usual is not known yet"
        return f"{self.unit.capitalize()}, 3 hours: {hour} in the last hour, usual {self.usual:.0f}"


def pulses(viewer: Viewer) -> dict[str, Pulse]:
    """Each rail on which something happened, or usually does."""
    now, scope = timezone.now(), _scope(viewer)
    [values] = _kept(f"pulse-{scope}", _NOW_KEPT, lambda: _counts(viewer, [now]))
    weeks = _kept(f"usual-{scope}-{timezone.get_current_timezone_name()}", _USUAL_KEPT, lambda: _usual(viewer, now))
    told = {rail: _pulse(rail, values[rail], [week[rail] for week in weeks]) for rail in _COUNTED}
    return {rail: pulse for rail, pulse in told.items() if any(pulse.values) or pulse.usual}


def _scope(viewer: Viewer) -> str:
    """Who sees the same figures."""
    sites = viewer.sites_for("control_room.view")
    return "all" if sites is None else "-".join(map(str, sorted(sites)))


def _kept(key: str, seconds: int, count: Callable[[], _T]) -> _T:
    """What was counted so long ago at most: everybody's control room asks every ten seconds."""
    return cast("_T", cache.get_or_set(key, count, seconds))


def _pulse(rail: str, values: Sequence[int], weeks: Sequence[Sequence[int]]) -> Pulse:
    low = [float(min(each)) for each in zip(*weeks, strict=True)] if weeks else []
    high = [float(max(each)) for each in zip(*weeks, strict=True)] if weeks else []
    usual = mean(sum(week[-_HOUR:]) for week in weeks) if weeks else None
    return Pulse(values, low, high, usual, _UNITS[rail])


def _usual(viewer: Viewer, now: dt.datetime) -> list[Quarters]:
    """The same three hours of the weeks before; weeks in which nothing at all ran say nothing."""
    clock = timezone.localtime(now)  # the hour on the wall, also when the clocks were changed meanwhile
    ends = [(clock - dt.timedelta(weeks=week)).astimezone(dt.UTC) for week in range(1, _WEEKS + 1)]
    weeks = _counts(viewer, ends)
    return [week for week in weeks if any(map(sum, week.values()))]


def _counts(viewer: Viewer, ends: Iterable[dt.datetime]) -> list[Quarters]:
    """For each end the events of each rail by quarter: one range of the index each."""
    rails = {name: rail for rail, names in _COUNTED.items() for name in names}
    told = []
    for end in ends:
        start = end - _BIN * _BINS
        mine = visible_to(WorkflowEvent.objects.all(), viewer, "control_room.view")
        happened = mine.filter(name__in=rails, at__gt=start, at__lte=end).order_by().values_list("name", "at")
        numbers: Counter[tuple[str, int]] = Counter(
            (rails[name], min(int((at - start) / _BIN), _BINS - 1)) for name, at in happened.iterator()
        )
        told.append({rail: [numbers[rail, each] for each in range(_BINS)] for rail in _COUNTED})
    return told


def latencies(viewer: Viewer) -> dict[str, tuple[float, float]]:
    """Seconds on each rail in the last hour: the median and the 95th percentile; only where something was done."""
    return _kept(f"latencies-{_scope(viewer)}", _NOW_KEPT, lambda: _latencies(viewer))


def _latencies(viewer: Viewer) -> dict[str, tuple[float, float]]:
    since = timezone.now() - dt.timedelta(hours=1)
    mine = visible_to(InboundMessage.objects.all(), viewer, "control_room.view")
    applied = mine.filter(received_at__gte=since, applied_at__isnull=False).order_by("-received_at")
    times = applied.values_list("received_at", "applied_at")[:_MOST]
    waits = {"Orders": [(then - first).total_seconds() for first, then in times if then]}
    for rail, (first, then) in _TAKES.items():
        waits[rail] = _between(viewer, since, first, then)
    return {rail: _percentiles(each) for rail, each in waits.items() if each}


def _between(viewer: Viewer, since: dt.datetime, first: str, then: str) -> list[float]:
    """For the latest things that came to `then`: how long after their last `first` before it, however long ago."""
    mine = visible_to(WorkflowEvent.objects.filter(name=then, at__gte=since), viewer, "control_room.view")
    came = list(mine.order_by("-at", "-pk").values_list("subject_type", "subject_id", "at")[:_MOST])
    began: dict[int, list[dt.datetime]] = {}
    about = WorkflowEvent.objects.filter(
        name=first, subject_type__in={kind for kind, _, _ in came}, subject_id__in={key for _, key, _ in came}
    )
    for subject, at in about.order_by().values_list("subject_id", "at"):
        began.setdefault(subject, []).append(at)
    before = ((at, [each for each in began.get(subject, ()) if each <= at]) for _, subject, at in came)
    return [(at - max(moments)).total_seconds() for at, moments in before if moments]


def _percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    if len(seconds) == 1:
        return seconds[0], seconds[0]
    cuts = quantiles(seconds, n=20, method="inclusive")
    return cuts[9], cuts[18]


def changes(viewer: Viewer, since: dt.datetime) -> Iterable[dict[str, Any]]:
    """What of the ground changes how things flow (settings.CHANGES): decisions taken back, wrong worklist entries."""
    names = ("decision.undone", "study.disowned", "site.default_issuer_learned", "job.failed")
    mine = visible_to(WorkflowEvent.objects.filter(name__in=names, at__gte=since), viewer, "control_room.view")
    return [events.entry(event) for event in mine.order_by("-at", "-pk")[:10]]


def changed(viewer: Viewer, *, hours: int = 24, most: int = 10) -> list[dict[str, Any]]:
    """What changed lately, the last first, from every app that tells it."""
    since = timezone.now() - dt.timedelta(hours=hours)
    told: list[dict[str, Any]] = []
    for name in settings.CHANGES:
        told.extend(cast("Iterable[dict[str, Any]]", import_string(name)(viewer, since)))
    return sorted(told, key=lambda entry: entry["at"], reverse=True)[:most]
