"""What came of the KPIs, for a viewer's sites: read from the tallies; what is open, and how old, from the facts."""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from django.utils import timezone

from orchestrator.kpis import backlog, counting
from orchestrator.kpis.definitions import DEFINITIONS, Definition
from orchestrator.kpis.periods import Period, days_between
from orchestrator.kpis.tallies import NOT_JUDGED, NOT_MOVED, Judged, Moved, Steps, Tallies, judged_in_all, steps_in_all
from orchestrator.models import KpiSubject, KpiTarget
from orchestrator.permissions import Viewer

DIMENSIONS = ("site", "modality", "source", "hour", "reason")
SUBJECTS: Mapping[str, KpiSubject] = {
    "auto_match_rate": KpiSubject.STUDY,
    "exception_backlog": KpiSubject.CASE,
    "order_to_worklist": KpiSubject.ORDER,
    "mismatch_rate": KpiSubject.STUDY,
}

# What is counted of a subject.
T = TypeVar("T", bound=Judged | Steps)


@dataclass(frozen=True)
class Value:
    """One value with what it was computed from; None where nothing was counted."""

    value: float | None
    numerator: int
    denominator: int | None


class Split(NamedTuple):
    """The parts of a figure by one dimension."""

    parts: Mapping[Any, Value]
    # Of each part, how many studies were asked about for each reason: stacks.
    reasons: Mapping[Any, Counter[str]]


@dataclass(frozen=True)
class Figure:
    """A KPI over a period."""

    definition: Definition
    period: Period
    target: float
    whole: Value
    before: Value
    series: Mapping[dt.date, Value]
    # The same for the period before.
    earlier: Mapping[dt.date, Value]
    by: str
    # By each dimension that was asked for.
    splits: Mapping[str, Split]
    # What else is worth a note: p50 of durations, p90 of ages.
    aside: float | None = None
    # Of a backlog: how many cases were opened and settled on each day.
    flows: Mapping[dt.date, Moved] = field(default_factory=dict)

    @property
    def missed(self) -> bool:
        return self.whole.value is not None and not self.definition.reaches(self.whole.value, self.target)

    @property
    def breakdown(self) -> Mapping[Any, Value]:
        return self.splits[self.by].parts

    @property
    def reasons(self) -> Mapping[Any, Counter[str]]:
        return self.splits[self.by].reasons

    def split_by(self, by: str) -> "Figure":
        """The same in other parts, if they were asked for."""
        return replace(self, by=by)


def targets() -> dict[str, float]:
    """Of every KPI: as set, else its default."""
    return {name: each.target for name, each in DEFINITIONS.items()} | dict(
        KpiTarget.objects.filter(name__in=DEFINITIONS).values_list("name", "value")
    )


class _Asked(NamedTuple):
    viewer: Viewer
    period: Period
    by: Sequence[str]
    chosen: Mapping[str, str]


def figure(
    viewer: Viewer, name: str, period: Period, *, by: str = "site", filters: Mapping[str, str] | None = None
) -> Figure:  # fmt: skip
    """One KPI for the sites of the viewer."""
    return figures(viewer, [name], period, by=[by], filters=filters)[name]


def figures(
    viewer: Viewer,
    names: Iterable[str],
    period: Period,
    *,
    by: Sequence[str],
    filters: Mapping[str, str] | None = None,
) -> dict[str, Figure]:
    """Several KPIs, each in parts by all these dimensions, shown by the first: what two stand on is read once."""
    goals, asked = targets(), _Asked(viewer, period, list(dict.fromkeys(by)), filters or {})
    read: dict[KpiSubject, Callable[[Definition, float], Figure]] = {}
    found = {}
    for name in names:
        subject = SUBJECTS[name]
        if subject not in read:
            read[subject] = _READ[subject](asked)
        found[name] = read[subject](DEFINITIONS[name], goals[name])
    return found


@dataclass(frozen=True)
class _Counted(Generic[T]):
    """What was counted of one subject: by day, since the period before began, and in the period by each dimension."""

    nothing: T
    in_all: Callable[[Iterable[T]], T]
    days: Mapping[dt.date, T]
    parts: Mapping[str, tuple[Mapping[Any, T], Mapping[Any, Counter[str]]]]

    def figure(self, asked: _Asked, definition: Definition, target: float) -> Figure:
        period, before = asked.period, asked.period.before()

        def value(counted: T) -> Value:
            return _VALUES[definition.name](counted, target)

        def of(days: Sequence[dt.date]) -> tuple[T, dict[dt.date, Value]]:
            counted = {day: self.days.get(day, self.nothing) for day in days}
            return self.in_all(counted.values()), {day: value(each) for day, each in counted.items()}

        (whole, series), (earlier, earlier_series) = of(period.days), of(before.days)
        splits = {by: Split(_values(by, parts, self.nothing, value), reasons)
                  for by, (parts, reasons) in self.parts.items()}  # fmt: skip
        aside = counting.percentile(whole, 0.5) if isinstance(whole, Steps) else None
        return Figure(
            definition, period, target, value(whole), value(earlier), series, earlier_series, asked.by[0], splits, aside
        )


def _values(
    by: str, parts: Mapping[Any, T], nothing: T, value: Callable[[T], Value]
) -> dict[Any, Value]:  # fmt: skip
    """Hours as they come, everything else by how much there is of it."""
    if by == "hour":
        return {hour: value(parts.get(hour, nothing)) for hour in range(24)}
    numbers = {key: counted.total() for key, counted in parts.items()}
    if by == "reason":
        # Each reason's share of all that was counted: together they are the rate.
        total = sum(numbers.values())
        return {key: Value(counting.rate(number, total), number, total) for key, number in _by_size(numbers) if key}
    return {key: value(parts[key]) for key, _ in _by_size(numbers)}


def _by_size(numbers: Mapping[Any, int]) -> list[tuple[Any, int]]:
    return sorted(numbers.items(), key=lambda pair: (-pair[1], str(pair[0])))


def _auto(judged: Judged, _target: float) -> Value:
    return Value(counting.rate(judged.by_rule, judged.number), judged.by_rule, judged.number)


def _mismatches(judged: Judged, _target: float) -> Value:
    return Value(counting.rate(judged.asked, judged.number), judged.asked, judged.number)


def _latency(steps: Steps, target: float) -> Value:
    """p95; the numerator are those within the target, which is the end of a step."""
    last = counting.bucket_of(target)
    within = sum(count for step, count in steps.items() if step <= last)
    return Value(counting.percentile(steps, 0.95), within, steps.total())


_VALUES: Mapping[str, Callable[[Any, float], Value]] = {
    "auto_match_rate": _auto, "mismatch_rate": _mismatches, "order_to_worklist": _latency,
}  # fmt: skip


def _tallies(asked: _Asked) -> tuple[Tallies, Tallies]:
    """Those since the period before began, and those of the period."""
    first, last = asked.period.first, asked.period.last
    return (Tallies(asked.viewer, asked.chosen, asked.period.before().first, last),
            Tallies(asked.viewer, asked.chosen, first, last))  # fmt: skip


def _studies(asked: _Asked) -> Callable[[Definition, float], Figure]:
    since, within = _tallies(asked)
    parts = {by: within.judged_for_reasons(by) for by in asked.by}
    return partial(_Counted(NOT_JUDGED, judged_in_all, since.judged("day"), parts).figure, asked)


def _orders(asked: _Asked) -> Callable[[Definition, float], Figure]:
    since, within = _tallies(asked)
    none: Mapping[Any, Counter[str]] = {}
    parts = {by: (within.durations(by), none) for by in asked.by}
    return partial(_Counted(Steps(), steps_in_all, since.durations("day"), parts).figure, asked)


def _cases(asked: _Asked) -> Callable[[Definition, float], Figure]:
    """Back from what is open now, by what was opened and settled since: a past day as it ended at each site."""
    viewer, period, chosen = asked.viewer, asked.period, asked.chosen
    # An hour has no backlog of its own.
    by = list(dict.fromkeys("site" if each == "hour" else each for each in asked.by))
    begin, latest = period.before().first, backlog.latest(period)
    moved = Tallies(viewer, chosen, begin, latest).moved("day")
    now, standing = backlog.standing_by(viewer, by, chosen)
    since = days_between(begin, latest)
    open_at = dict(zip(since, counting.backlog(now, [moved.get(day, NOT_MOVED) for day in since]), strict=True))
    open_at |= {day: now for day in since if day >= timezone.localdate()}
    ended = backlog.ended(viewer, standing, period, chosen)
    aside = backlog.age_at(viewer, period, 0.9, open_at[period.last], chosen)

    def value(number: int) -> Value:
        return Value(number, number, None)

    def figure(definition: Definition, target: float) -> Figure:
        return Figure(
            definition, period, target, value(open_at[period.last]), value(open_at[period.before().last]),
            {day: value(open_at[day]) for day in period.days},
            {day: value(open_at[day]) for day in period.before().days},
            by[0],
            {each: Split({key: value(number) for key, number in _by_size(numbers) if number}, {})
             for each, numbers in ended.items()},
            aside, {day: moved.get(day, NOT_MOVED) for day in period.days},
        )  # fmt: skip

    return figure


_READ: Mapping[KpiSubject, Callable[[_Asked], Callable[[Definition, float], Figure]]] = {
    KpiSubject.STUDY: _studies, KpiSubject.ORDER: _orders, KpiSubject.CASE: _cases,
}  # fmt: skip
