"""What came of the KPIs, for a viewer's sites: read from the tallies; ages alone are read from the facts."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from django.core.exceptions import BadRequest
from django.db.models import Case, Count, DateTimeField, F, Q, QuerySet, Sum, When
from django.db.models import Value as Constant
from django.utils import timezone

from orchestrator.kpis import counting
from orchestrator.kpis.counting import CLOSING, OPENING, Outcome
from orchestrator.kpis.definitions import DEFINITIONS, Definition
from orchestrator.models import WHOLE_DAY, KpiFact, KpiSubject, KpiTally, KpiTarget, Site
from orchestrator.permissions import Viewer, visible_to

LONGEST = 366  # days
# Nothing that was counted lies before it; nor is anything more than a year ahead.
EARLIEST = dt.date(2000, 1, 1)
_A_DAY = dt.timedelta(days=1)
# No clock of a site is further ahead of UTC.
_FURTHEST = dt.timedelta(hours=14)
DIMENSIONS = ("site", "modality", "source", "hour", "reason")
# What came to a backlog, and what left it.
MOVES: Mapping[str, tuple[Outcome, ...]] = {"opened": OPENING, "settled": CLOSING}
FILTERS = ("site", "modality", "source")
SUBJECTS: Mapping[str, KpiSubject] = {
    "auto_match_rate": KpiSubject.STUDY,
    "exception_backlog": KpiSubject.CASE,
    "order_to_worklist": KpiSubject.ORDER,
    "mismatch_rate": KpiSubject.STUDY,
}
# (outcome, reason) -> how many
Counted = Counter[tuple[str, str]]
# Seconds: under an hour, under four, … what is older stands in the last.
AGES = (3600, 4 * 3600, 8 * 3600, 86400, 3 * 86400, 7 * 86400)


def days_between(first: dt.date, last: dt.date) -> list[dt.date]:
    """Both counted."""
    return [first + number * _A_DAY for number in range((last - first).days + 1)]


@dataclass(frozen=True)
class Period:
    """Days from the first to the last, both counted, by the clock of each site."""

    first: dt.date
    last: dt.date

    def __post_init__(self) -> None:
        if not self.first <= self.last or (self.last - self.first).days >= LONGEST:
            raise BadRequest(f"A period has from 1 to {LONGEST} days, and ends after it begins.")

    @property
    def days(self) -> list[dt.date]:
        return days_between(self.first, self.last)

    def before(self) -> "Period":
        """As many days, right before it."""
        length = dt.timedelta(days=len(self.days))
        return Period(self.first - length, self.last - length)

    @classmethod
    def of(cls, first: str, last: str, *, days: int = 7) -> "Period":
        """From two dates as somebody wrote them; the last `days` where they are empty. Raises BadRequest."""
        try:
            end = dt.date.fromisoformat(last) if last else timezone.localdate()
            begin = dt.date.fromisoformat(first) if first else end - dt.timedelta(days=days - 1)
        except (ValueError, OverflowError) as error:
            raise BadRequest("A day is written as 2026-07-05.") from error
        if begin < EARLIEST or end > timezone.localdate() + LONGEST * _A_DAY:
            raise BadRequest(f"A period begins in {EARLIEST.year} or later, and ends within a year from now.")
        return cls(begin, end)


@dataclass(frozen=True)
class Value:
    """One value with what it was computed from; None where nothing was counted."""

    value: float | None
    numerator: int
    denominator: int | None


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
    breakdown: Mapping[Any, Value]
    # Of each key of the breakdown, by reason: stacks.
    reasons: Mapping[Any, Counter[str]] = field(default_factory=dict)
    # What else is worth a note: p50 of durations, p90 of ages.
    aside: float | None = None

    @property
    def missed(self) -> bool:
        return self.whole.value is not None and not self.definition.reaches(self.whole.value, self.target)


def targets() -> dict[str, float]:
    """Of every KPI: as set, else its default."""
    return {name: each.target for name, each in DEFINITIONS.items()} | dict(
        KpiTarget.objects.filter(name__in=DEFINITIONS).values_list("name", "value")
    )


def figure(
    viewer: Viewer,
    name: str,
    period: Period,
    *,
    by: str = "site",
    filters: Mapping[str, str] | None = None,
    goals: Mapping[str, float] | None = None,
) -> Figure:
    """One KPI for the sites of the viewer."""
    definition, target = DEFINITIONS[name], (goals or targets())[name]
    chosen = dict(filters or {})
    if SUBJECTS[name] == KpiSubject.CASE:
        return _backlog(viewer, definition, target, period, "site" if by == "hour" else by, chosen)
    by_day = _counts(viewer, SUBJECTS[name], period.before().first, period.last, "day", chosen)
    breakdown, reasons = _parts(viewer, name, target, period, by, chosen)

    def value(counted: Counted) -> Value:
        return _VALUES[name](counted, target)

    whole, earlier = Counted(), Counted()
    for day, counted in by_day.items():
        (whole if day >= period.first else earlier).update(counted)
    return Figure(
        definition, period, target, value(whole), value(earlier),
        {day: value(by_day.get(day, Counted())) for day in period.days},
        {day: value(by_day.get(day, Counted())) for day in period.before().days},
        by, breakdown, reasons,
        counting.percentile(_buckets(whole), 0.5) if SUBJECTS[name] == KpiSubject.ORDER else None,
    )  # fmt: skip


def split_by(figure: Figure, viewer: Viewer, by: str, chosen: Mapping[str, str]) -> Figure:
    """The same KPI over the same period, in other parts: what is the same in each is not counted again."""
    name, period = figure.definition.name, figure.period
    if SUBJECTS[name] == KpiSubject.CASE:
        return replace(figure, by=by, breakdown=_ended(viewer, _standing_by(viewer, by, chosen), period, by, chosen))
    breakdown, reasons = _parts(viewer, name, figure.target, period, by, chosen)
    return replace(figure, by=by, breakdown=breakdown, reasons=reasons)


def _parts(
    viewer: Viewer, name: str, target: float, period: Period, by: str, chosen: Mapping[str, str]
) -> tuple[Mapping[Any, Value], Mapping[Any, Counter[str]]]:
    """The value of each part, and the reasons in it."""
    split = _counts(viewer, SUBJECTS[name], period.first, period.last, by, chosen)
    reasons = {key: _reasons(counted) for key, counted in split.items()}
    if by == "reason":
        return _reason_shares(split), reasons
    return {key: _VALUES[name](counted, target) for key, counted in _ordered(by, split).items()}, reasons


def _counts(
    viewer: Viewer, subject: KpiSubject, first: dt.date, last: dt.date, by: str, chosen: Mapping[str, str]
) -> dict[Any, Counted]:
    """How many of each outcome and reason (of studies: others have none that counts), for each value of a dimension."""
    hours = list(range(24)) if by == "hour" else [WHOLE_DAY]
    rows = visible_to(KpiTally.objects.filter(subject=subject, hour__in=hours), viewer, "kpis.view")
    rows = rows.filter(day__range=(first, last), count__gt=0, **chosen)
    found: dict[Any, Counted] = defaultdict(Counted)
    reason = "reason" if subject == KpiSubject.STUDY else Constant("")
    for key, outcome, why, number in rows.order_by().values_list(by, "outcome", reason).annotate(Sum("count")):
        found[key][outcome, why] += number
    return found


def _ordered(by: str, split: Mapping[Any, Any]) -> dict[Any, Any]:
    """Hours as they come, everything else by how much there is of it."""
    if by == "hour":
        return {hour: split.get(hour, Counted()) for hour in range(24)}
    totals = _by_size({key: counted.total() for key, counted in split.items()})
    return {key: split[key] for key in totals}


def _reason_shares(split: Mapping[Any, Counted]) -> dict[Any, Value]:
    """Each reason's share of all that was counted: together they are the rate."""
    total = sum(counted.total() for counted in split.values())
    numbers = _by_size({key: counted.total() for key, counted in split.items() if key})
    return {key: Value(counting.rate(number, total), number, total) for key, number in numbers.items()}


def _by_size(numbers: Mapping[Any, int]) -> dict[Any, int]:
    return dict(sorted(numbers.items(), key=lambda pair: (-pair[1], str(pair[0]))))


def _auto(counted: Counted, _target: float) -> Value:
    number = sum(count for (outcome, _), count in counted.items() if outcome == Outcome.AUTO)
    return Value(counting.rate(number, counted.total()), number, counted.total())


def _mismatches(counted: Counted, _target: float) -> Value:
    number = sum(count for (_, reason), count in counted.items() if reason)
    return Value(counting.rate(number, counted.total()), number, counted.total())


def _latency(counted: Counted, target: float) -> Value:
    """p95; the numerator are those within the target, which is the end of a step."""
    buckets = _buckets(counted)
    within = sum(count for bucket, count in buckets.items() if bucket <= counting.bucket_of(target))
    return Value(counting.percentile(buckets, 0.95), within, counted.total())


_VALUES: Mapping[str, Callable[[Counted, float], Value]] = {
    "auto_match_rate": _auto, "mismatch_rate": _mismatches, "order_to_worklist": _latency,
}  # fmt: skip


def _buckets(counted: Counted) -> Counter[int]:
    buckets: Counter[int] = Counter()
    for (outcome, _), count in counted.items():
        buckets[int(outcome)] += count
    return buckets


def _reasons(counted: Counted) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for (_, reason), count in counted.items():
        if reason:
            reasons[reason] += count
    return reasons


def _backlog(
    viewer: Viewer, definition: Definition, target: float, period: Period, by: str, chosen: Mapping[str, str]
) -> Figure:
    """Back from what is open now, by what was opened and settled since: a past day as it ended at each site."""
    today, begin = timezone.localdate(), period.before().first
    since = days_between(begin, _latest(period))
    flows = _counts(viewer, KpiSubject.CASE, since[0], since[-1], "day", chosen)
    now = _standing_by(viewer, by, chosen)
    net = [(_sum(flows.get(day), OPENING), _sum(flows.get(day), CLOSING)) for day in since]
    open_at = dict(zip(since, counting.backlog(now.total(), net), strict=True))
    open_at |= {day: now.total() for day in since if day >= today}
    end, earlier = open_at[period.last], open_at[period.before().last]
    return Figure(
        definition, period, target, Value(end, end, None), Value(earlier, earlier, None),
        {day: Value(open_at[day], open_at[day], None) for day in period.days},
        {day: Value(open_at[day], open_at[day], None) for day in period.before().days},
        by, _ended(viewer, now, period, by, chosen), {}, age_at(viewer, period, 0.9, end, chosen),
    )  # fmt: skip


def _latest(period: Period) -> dt.date:
    """The last day that something may have been counted on, by the clock of any site."""
    return max(period.last, (timezone.now() + _FURTHEST).astimezone(dt.UTC).date())


def _standing_by(viewer: Viewer, by: str, chosen: Mapping[str, str]) -> Counter[Any]:
    return Counter(dict(_standing(viewer, chosen).order_by().values_list(by).annotate(number=Count("*"))))


def _ended(viewer: Viewer, now: Counter[Any], period: Period, by: str, chosen: Mapping[str, str]) -> dict[Any, Value]:
    """The parts of what was open at the end of the period, from those of what is open now."""
    numbers = Counter(now)
    if period.last < timezone.localdate():
        later = _counts(viewer, KpiSubject.CASE, period.last + _A_DAY, _latest(period), by, chosen)
        for key, counted in later.items():
            numbers[key] += _sum(counted, CLOSING) - _sum(counted, OPENING)
    return {key: Value(number, number, None) for key, number in _by_size(numbers).items() if number}


def _sum(counted: Counted | None, outcomes: tuple[Outcome, ...]) -> int:
    return sum(count for (outcome, _), count in (counted or {}).items() if outcome in outcomes)


def flows(viewer: Viewer, period: Period, chosen: Mapping[str, str]) -> dict[dt.date, tuple[int, int]]:
    """Cases opened (and opened again) and settled, per day."""
    counted = _counts(viewer, KpiSubject.CASE, period.first, period.last, "day", chosen)
    return {day: (_sum(counted.get(day), OPENING), _sum(counted.get(day), CLOSING)) for day in period.days}


def _ends(period: Period) -> dict[dt.datetime, Q]:
    """When the period ends, and for which facts: a past day by the clock of each site; today, for who looks, now."""
    if period.last >= timezone.localdate():
        return {timezone.now(): Q()}
    midnight = dt.datetime.combine(period.last + _A_DAY, dt.time())
    sites: dict[dt.datetime, list[int]] = defaultdict(list)
    for site, zone in Site.objects.values_list("pk", "time_zone"):
        sites[midnight.replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC)].append(site)
    return {moment: Q(site__in=theirs) for moment, theirs in sorted(sites.items())} or {timezone.now(): Q()}


def _standing(viewer: Viewer, chosen: Mapping[str, str]) -> QuerySet[KpiFact]:
    """The facts of cases that are open now."""
    return visible_to(KpiFact.objects.filter(**chosen), viewer, "kpis.view").filter(until__isnull=True)


def _open_at(
    viewer: Viewer, period: Period, chosen: Mapping[str, str], ends: Mapping[dt.datetime, Q]
) -> QuerySet[KpiFact]:  # fmt: skip
    """The facts of cases that are open at the end of the period: as many as the backlog counts."""
    if period.last >= timezone.localdate():
        return _standing(viewer, chosen)
    facts = visible_to(KpiFact.objects.filter(subject=KpiSubject.CASE, **chosen), viewer, "kpis.view")
    facts = facts.filter(at__lt=max(ends), day__lte=period.last).filter(Q(until__isnull=True) | Q(until__gte=min(ends)))
    for moment, theirs in list(ends.items())[1:]:
        facts = facts.exclude(theirs, until__lt=moment)
    return facts


def age_at(viewer: Viewer, period: Period, share: float, number: int, chosen: Mapping[str, str]) -> float | None:
    """The age in seconds that a share of the cases open at the end of the period do not exceed."""
    now, ends = timezone.now(), _ends(period)
    (end, _), *further = ends.items()
    ended = Case(
        *(When(theirs, then=Constant(min(moment, now))) for moment, theirs in further),
        default=Constant(min(end, now)), output_field=DateTimeField(),
    )  # fmt: skip
    open_then = _open_at(viewer, period, chosen, ends).annotate(ended=ended)
    # Where the day ends at one moment everywhere, the index gives the order.
    youngest_first = open_then.order_by(F("ended") - F("at") if further else "-at").values_list("ended", "at")
    rank = max(-(-int(share * 100) * number // 100), 1)
    return next(((then - at).total_seconds() for then, at in youngest_first[rank - 1 : rank]), None)


def ages(viewer: Viewer, period: Period, chosen: Mapping[str, str]) -> list[int]:
    """How many of the cases open at the end of the period are younger than each of AGES, and older than all."""
    numbers: Counter[int] = Counter()
    ends = _ends(period)
    for moment, theirs in ends.items():
        edges = [min(moment, timezone.now()) - dt.timedelta(seconds=age) for age in AGES]
        younger = (
            _open_at(viewer, period, chosen, ends)
            .filter(theirs)
            .aggregate(
                total=Count("*"),
                **{f"under{number}": Count("at", filter=Q(at__gt=edge)) for number, edge in enumerate(edges)},
            )
        )
        steps = [0, *(younger[f"under{number}"] for number in range(len(edges))), younger["total"]]
        numbers.update({number: after - before for number, (before, after) in enumerate(pairwise(steps))})
    return [numbers[number] for number in range(len(AGES) + 1)]


def behind(viewer: Viewer, name: str, period: Period, asked: Mapping[str, str]) -> QuerySet[KpiFact]:
    """What a number was computed from, for who may see it: `asked` are dimensions, `day`, and `counted`.

    `counted`: "numerator", what the value counts, or "rest", what it does not. Of the backlog, "opened" or "settled" in
    the period; else what is open at its end. Raises BadRequest.
    """
    if "day" in asked:
        period = Period.of(asked["day"], asked["day"])
    chosen = {key: value for key, value in asked.items() if key in DIMENSIONS}
    is_backlog, side = name == "exception_backlog", asked.get("counted", "")
    if is_backlog and side not in MOVES:
        return _open_at(viewer, period, chosen, _ends(period))
    facts = visible_to(KpiFact.objects.filter(subject=SUBJECTS[name], **chosen), viewer, "kpis.view")
    # The index is by moment; a day by the clock of a site lies within a day of one in UTC.
    begin, end = (dt.datetime.combine(day, dt.time(), dt.UTC) for day in (period.first, period.last))
    facts = facts.filter(at__gte=begin - _A_DAY, at__lt=end + 2 * _A_DAY, day__range=(period.first, period.last))
    return facts.filter(_side(name, side))


def count_behind(viewer: Viewer, name: str, period: Period, asked: Mapping[str, str]) -> int | None:
    """How many facts are `behind`, by the tallies; None where these do not tell: of what was open at a time."""
    if "day" in asked:
        period = Period.of(asked["day"], asked["day"])
    chosen: dict[str, Any] = {"hour": WHOLE_DAY, **{key: asked[key] for key in DIMENSIONS if key in asked}}
    side = asked.get("counted", "")
    if name == "exception_backlog" and side not in MOVES:
        return None
    tallies = visible_to(KpiTally.objects.filter(subject=SUBJECTS[name], **chosen), viewer, "kpis.view")
    tallies = tallies.filter(_side(name, side), day__range=(period.first, period.last))
    return int(tallies.aggregate(number=Sum("count"))["number"] or 0)


def _side(name: str, side: str) -> Q:
    if name == "exception_backlog":
        return Q(outcome__in=MOVES[side])
    if side not in ("numerator", "rest"):
        return Q()
    return _numerator(name) if side == "numerator" else ~_numerator(name)


def _numerator(name: str) -> Q:
    if name == "order_to_worklist":
        return Q(outcome__lte=counting.bucket_name(counting.bucket_of(targets()[name])))
    return {"auto_match_rate": Q(outcome=Outcome.AUTO), "mismatch_rate": ~Q(reason="")}[name]
