"""Interleaved rounds (A B C, A B C, …), their medians, and our ratio to each peer, round by round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

OURS = "fiducial"


@dataclass(frozen=True)
class Contender:
    """One system under one load: `play` runs a round and answers what was measured."""

    system: str
    settings: str
    """What it ran with, and what is durable when it answers."""
    play: Callable[[], float]


@dataclass(frozen=True)
class Row:
    """What `benchmarks/results/latest.json` promises. `ratio` is ours to that system; null without a peer."""

    name: str
    system: str
    settings: str
    metric: str
    unit: str
    median: float
    min: float
    max: float
    ratio: float | None


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 3
    ct_objects: int = 200
    small_objects: int = 300
    steps: Sequence[int] = (1_000, 10_000, 100_000)
    query_seconds: float = 2.0
    messages: int = 1_500
    forwards: int = 2_000
    orders: int = 20
    matched: int = 10
    kept: int = 100_000
    studies: int = 20_000
    page_rounds: int = 20
    parsed: int = 5_000
    claims: int = 2_000
    idle_seconds: float = 10.0
    minutes: float = 20.0
    """After so many no further benchmark begins; what was left out is said."""


TINY = Plan(
    rounds=1, ct_objects=4, small_objects=4, steps=(40, 60), query_seconds=0.1, messages=64, forwards=4, orders=2,
    matched=1, kept=100,
    studies=300, page_rounds=1,
    parsed=4, claims=20, idle_seconds=0.5,
)  # fmt: skip


def compare(name: str, *, metric: str, unit: str, contenders: Sequence[Contender], rounds: int) -> list[Row]:
    """Play all rounds; one row per system. The ratio is the middle one of the rounds: machines have fast times."""
    values: dict[str, list[float]] = {each.system: [] for each in contenders}
    for _ in range(rounds):
        for each in contenders:
            values[each.system].append(each.play())
    ratios = {
        system: median(ours / theirs for ours, theirs in zip(values[OURS], played, strict=True))
        for system, played in values.items()
    }
    return [
        summary(name, each.system, each.settings, metric, unit, values[each.system], ratios[each.system])
        for each in contenders
    ]


def summary(
    name: str, system: str, settings: str, metric: str, unit: str, values: Sequence[float], ratio: float | None
) -> Row:
    return Row(name, system, settings, metric, unit, median(values), min(values), max(values), ratio)


def table(rows: Sequence[Row], verdict: Callable[[Row], str] = lambda row: "") -> str:
    """The rows for a terminal, in columns; settings last, since they are long. `verdict` judges a row by its goal."""
    lines = [["benchmark", "system", "median", "min", "max", "unit", "ours/this", "goal", "settings"]]
    lines += [
        [row.name, row.system, *map(_number, (row.median, row.min, row.max)), row.unit,
         "" if row.ratio is None else f"{row.ratio:.2f}", verdict(row), row.settings]
        for row in rows
    ]  # fmt: skip
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    return "\n".join(
        "  ".join([*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[-1]]) for line in lines
    )


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
