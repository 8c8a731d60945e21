"""Geometry of the charts of the KPIs: columns (stacked) or a line over days, hours or steps, with the target.

Numbers for SVG attributes and nothing else, as in `drawings`: the page and the downloaded picture are one drawing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 640.0, 200.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 636.0, 16.0, 168.0
# Classes of the stacked parts, from the foot up; what is more than they are is drawn as the last.
STACK = ("s-a", "s-b", "s-c", "s-d")
_LETTER = 7.0  # mean width of a letter below a column


class Column(NamedTuple):
    """What stands above one label: parts from the foot up, or None where there is no value; `words` say it."""

    label: str
    parts: Sequence[float] | None
    words: str


class Tick(NamedTuple):
    """A line across, and the foot of its text."""

    y: float
    foot: float
    text: str


class Bar(NamedTuple):
    css: str
    x: float
    y: float
    width: float
    height: float


class Label(NamedTuple):
    x: float
    text: str


class Hit(NamedTuple):
    """The whole height above a label, and what it says under the pointer."""

    x: float
    width: float
    words: str


class Point(NamedTuple):
    x: float
    y: float


@dataclass(frozen=True)
class Chart:
    ticks: list[Tick]
    labels: list[Label]
    bars: list[Bar]
    lines: list[str]
    points: list[Point]
    hits: list[Hit]
    goal: float | None
    # The foot of the goal's words: above its line, or below where that is at the top.
    goal_foot: float
    goal_text: str
    title: str
    left: float = _LEFT
    right: float = _RIGHT
    top: float = _TOP
    height: float = _BOTTOM - _TOP


def steps(lowest: float, highest: float) -> list[float]:
    """Round numbers from at or below the lowest to at or above the highest, about five of them."""
    reach = max(highest - lowest, 1e-9)
    size = 10 ** math.floor(math.log10(reach / 4))
    size *= next(factor for factor in (1, 2, 2.5, 5, 10) if factor * size * 4.001 >= reach)
    first, last = math.floor(lowest / size), math.ceil(highest / size)
    return [round(number * size, 10) for number in range(first, max(last, first + 1) + 1)]


def draw(
    columns: Sequence[Column],
    *,
    title: str,
    write: Callable[[float], str],
    goal: float | None = None,
    line: bool = False,
    most: float | None = None,
) -> Chart | None:
    """Columns from nothing up, or (`line`) their sums from about the lowest up; None of nothing.

    `most`: no value is above it.
    """
    values = [sum(column.parts) for column in columns if column.parts is not None]
    if not values:
        return None
    told = [*values, *([goal] if goal is not None else [])]
    scale = steps(min(told) if line else 0.0, max(told))
    scale = [each for each in scale if most is None or each <= most]
    low, high = scale[0], scale[-1]
    width = (_RIGHT - _LEFT) / len(columns)

    def y(value: float) -> float:
        return round(_BOTTOM - (value - low) / (high - low) * (_BOTTOM - _TOP), 1)

    centres = [round(_LEFT + (number + 0.5) * width, 1) for number in range(len(columns))]
    return Chart(
        ticks=[Tick(y(value), y(value) + 4, write(value)) for value in scale],
        labels=_labels(columns, centres, width),
        bars=[] if line else _bars(columns, centres, width, y),
        lines=_lines(columns, centres, y) if line else [],
        points=_points(columns, centres, y) if line else [],
        hits=[
            Hit(round(centre - width / 2, 1), round(width, 1), column.words)
            for column, centre in zip(columns, centres, strict=True)
        ],
        goal=None if goal is None else y(goal),
        goal_foot=0.0 if goal is None else y(goal) - 5 if y(goal) > _TOP + 12 else y(goal) + 14,
        goal_text="" if goal is None else f"target {write(goal)}",
        title=title,
    )


def _labels(columns: Sequence[Column], centres: Sequence[float], width: float) -> list[Label]:
    """Every second, third, … label where not all have room."""
    widest = max(len(column.label) for column in columns) * _LETTER + 8
    every = max(math.ceil(widest / width), 1)
    return [
        Label(centre, column.label)
        for number, (column, centre) in enumerate(zip(columns, centres, strict=True))
        if number % every == 0
    ]


def _bars(columns: Sequence[Column], centres: Sequence[float], width: float, y: Callable[[float], float]) -> list[Bar]:
    wide = round(min(width * 0.72, 56.0), 1)
    bars = []
    for column, centre in zip(columns, centres, strict=True):
        foot = 0.0
        for number, part in enumerate(column.parts or ()):
            if part > 0:
                css = STACK[min(number, len(STACK) - 1)]
                top, bottom = y(foot + part), y(foot)
                bars.append(Bar(css, round(centre - wide / 2, 1), top, wide, round(max(bottom - top, 1.0), 1)))
            foot += part
    return bars


def _lines(columns: Sequence[Column], centres: Sequence[float], y: Callable[[float], float]) -> list[str]:
    """A line for each stretch of values: where there is none it is broken."""
    lines: list[list[str]] = [[]]
    for column, centre in zip(columns, centres, strict=True):
        if column.parts is None:
            lines.append([])
        else:
            lines[-1].append(f"{centre},{y(sum(column.parts))}")
    return [" ".join(each) for each in lines if len(each) > 1]


def _points(columns: Sequence[Column], centres: Sequence[float], y: Callable[[float], float]) -> list[Point]:
    found = [
        (centre, y(sum(column.parts)))
        for column, centre in zip(columns, centres, strict=True)
        if column.parts is not None
    ]
    few = len(found) <= 31
    return [Point(x, height) for x, height in (found if few else found[-1:])]


@dataclass(frozen=True)
class Trend:
    """A small line with the target, for a row of a table."""

    width: int
    height: int
    lines: list[str]
    last: Point
    goal: float
    hot: bool


def trend(
    values: Sequence[float | None], goal: float, *, hot: bool, width: int = 220, height: int = 44
) -> Trend | None:
    """The values, broken where there is none, and the target; None when there are fewer than two."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    low, high = min(*known, goal), max(*known, goal)
    step, scale, foot = (width - 8) / (len(values) - 1), (height - 12) / max(high - low, 1e-9), height - 6
    lines: list[list[str]] = [[]]
    x = y = 0.0
    for number, value in enumerate(values):
        if value is None:
            lines.append([])
            continue
        x, y = 4 + number * step, foot - (value - low) * scale
        lines[-1].append(f"{x:.1f},{y:.1f}")
    return Trend(
        width, height, [" ".join(each) for each in lines if len(each) > 1], Point(round(x, 1), round(y, 1)),
        round(foot - (goal - low) * scale, 1), hot,
    )  # fmt: skip
