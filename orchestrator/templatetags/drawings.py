"""Geometry of the small server-drawn charts: sparklines and the timeline over the five rails.

Everything is numbers for SVG attributes, since the content security policy forbids inline style.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from django.utils import timezone

from .moments import long_ago

RAILS = ("Identity", "Orders", "Worklist", "Images", "Results")

_LEFT, _RIGHT, _TOP, _LANE = 92.0, 1024.0, 34.0, 46.0
_BREAK = 48.0  # width of a long stretch in which nothing happened
_LETTER = 6.2  # mean width of a letter of the 12 px labels
_STEPS = (60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 7 * 86400)


class Spark(NamedTuple):
    """A sparkline: the line, the band of what is usual, the last point, and whether that is outside the band."""

    width: int
    height: int
    line: str
    band: str
    x: float
    y: float
    hot: bool


def spark(
    values: Sequence[float], low: Sequence[float], high: Sequence[float], *, width: int, height: int
) -> Spark | None:
    """Draw `values` over the usual band from `low` to `high` (as many points each, or none)."""
    if len(values) < 2:
        return None
    top = max([*values, *high, 1e-9])
    step = (width - 6) / (len(values) - 1)

    def at(index: int, value: float) -> str:
        return f"{3 + index * step:.1f},{height - 3 - max(value, 0) / top * (height - 6):.1f}"

    line = [at(index, value) for index, value in enumerate(values)]
    band = [at(index, value) for index, value in enumerate(high)]
    band += [at(index, value) for index, value in reversed(list(enumerate(low)))]
    x, y = line[-1].split(",")
    hot = bool(high) and not low[-1] <= values[-1] <= high[-1]
    return Spark(width, height, " ".join(line), " ".join(band), float(x), float(y), hot)


class Moment(NamedTuple):
    """What happened on one rail: at a time, or from a time until another."""

    at: dt.datetime
    rail: str
    label: str
    colour: str = "good"
    until: dt.datetime | None = None


class Label(NamedTuple):
    x: float
    y: float
    anchor: str
    text: str


class Tick(NamedTuple):
    x: float
    text: str


class Mark(NamedTuple):
    """A moment with its place: a dot, or a bar when `width` is not 0; the label is left out where none fits."""

    x: float
    y: float
    width: float
    colour: str
    label: Label | None


@dataclass(frozen=True)
class Timeline:
    height: float
    lanes: list[tuple[str, float]]
    ticks: list[Tick]
    breaks: list[Tick]
    marks: list[Mark]
    now: float | None
    title: str


@dataclass
class _Scale:
    """Time to x. Long stretches in which nothing happened are squeezed, so that the rest can be read."""

    stretches: list[tuple[dt.datetime, dt.datetime]]
    starts: list[float] = field(default_factory=list)
    per_second: float = 0.0

    def __post_init__(self) -> None:
        seconds = sum((stop - start).total_seconds() for start, stop in self.stretches)
        room = _RIGHT - _LEFT - _BREAK * (len(self.stretches) - 1)
        self.per_second = room / max(seconds, 1.0)
        x = _LEFT
        for start, stop in self.stretches:
            self.starts.append(x)
            x += (stop - start).total_seconds() * self.per_second + _BREAK

    def x(self, moment: dt.datetime) -> float:
        for (start, stop), left in zip(self.stretches, self.starts, strict=True):
            if moment <= stop:
                return left + max((moment - start).total_seconds(), 0.0) * self.per_second
        return _RIGHT

    def ticks(self) -> Iterator[Tick]:
        """At most about eight full hours, minutes or days over all stretches."""
        seconds = sum((stop - start).total_seconds() for start, stop in self.stretches)
        step = next((step for step in _STEPS if seconds / step <= 8), _STEPS[-1])
        form = "%H:%M" if step < 86400 else "%d %b"
        taken = float("-inf")
        for start, stop in self.stretches:
            local = timezone.localtime(start)
            midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
            count = -(-int((local - midnight).total_seconds()) // step)
            while (moment := midnight + dt.timedelta(seconds=count * step)) <= stop:
                if (x := self.x(moment)) - taken >= 48:
                    yield Tick(x, moment.strftime(form))
                    taken = x
                count += 1

    def breaks(self) -> Iterator[Tick]:
        for (_, stop), (start, _), left in zip(self.stretches, self.stretches[1:], self.starts[1:], strict=False):
            yield Tick(left - _BREAK / 2, long_ago((start - stop).total_seconds()))


def _stretches(times: Sequence[dt.datetime]) -> list[tuple[dt.datetime, dt.datetime]]:
    """Cut the time between the first and the last moment where nothing happened for long (12 h and a third of it)."""
    limit = max(43200.0, (times[-1] - times[0]).total_seconds() / 3)
    cut: list[tuple[dt.datetime, dt.datetime]] = []
    start = times[0]
    for before, after in pairwise(times):
        if (after - before).total_seconds() > limit:
            cut.append((start, before + dt.timedelta(minutes=5)))
            start = after - dt.timedelta(minutes=5)
    return [*cut, (start, max(times[-1], start + dt.timedelta(minutes=1)))]


def _label(text: str, x: float, y: float, taken: list[tuple[float, float, float]]) -> Label | None:
    """The label above its mark, or below, where it covers no other; None when neither is free."""
    if not text:
        return None
    width = len(text) * _LETTER
    anchor = "end" if x + width > _RIGHT else "start"
    left = x - width if anchor == "end" else x
    for row in (y - 9, y + 20):
        if all(row != other or left > stop or left + width < start for other, start, stop in taken):
            taken.append((row, left - 8, left + width + 8))
            return Label(x, row, anchor, text)
    return None


def timeline(moments: Iterable[Moment], now: dt.datetime | None = None) -> Timeline | None:
    """Place moments on their rails. None when there is nothing to draw."""
    ordered = sorted(moments, key=lambda moment: moment.at)
    times = sorted([*(m.at for m in ordered), *(m.until for m in ordered if m.until), *([now] if now else [])])
    if not ordered:
        return None
    scale = _Scale(_stretches(times))
    lanes = {rail: _TOP + index * _LANE for index, rail in enumerate(RAILS)}
    taken: list[tuple[float, float, float]] = []
    marks: list[Mark] = []
    for moment in ordered:
        x, y = scale.x(moment.at), lanes.get(moment.rail, lanes["Images"])
        width = max(scale.x(moment.until) - x, 2.0) if moment.until else 0.0
        marks.append(Mark(x, y, width, moment.colour, _label(moment.label, x, y, taken)))
    title = (
        f"Timeline over the five rails, {timezone.localtime(times[0]):%d %b %H:%M} to "
        f"{timezone.localtime(times[-1]):%d %b %H:%M}. The same events stand in the list below."
    )
    return Timeline(
        height=_TOP + len(RAILS) * _LANE + 4,
        lanes=list(lanes.items()),
        ticks=list(scale.ticks()),
        breaks=list(scale.breaks()),
        marks=marks,
        now=scale.x(now) if now else None,
        title=title,
    )
