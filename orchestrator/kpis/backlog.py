"""Which cases are open at a moment, and how old they are: read from the facts."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Case, Count, DateTimeField, F, Q, QuerySet, When
from django.db.models import Value as Constant
from django.utils import timezone

from orchestrator.kpis.periods import A_DAY, Period
from orchestrator.kpis.tallies import Tallies
from orchestrator.models import KpiFact, KpiSubject, Site
from orchestrator.permissions import Viewer, visible_to

# No clock of a site is further ahead of UTC.
_FURTHEST = dt.timedelta(hours=14)
# Seconds: under an hour, under four, … what is older stands in the last.
AGES = (3600, 4 * 3600, 8 * 3600, 86400, 3 * 86400, 7 * 86400)


def latest(period: Period) -> dt.date:
    """The last day that something may have been counted on, by the clock of any site."""
    return max(period.last, (timezone.now() + _FURTHEST).astimezone(dt.UTC).date())


def standing_by(viewer: Viewer, by: Sequence[str], chosen: Mapping[str, str]) -> tuple[int, dict[str, Counter[Any]]]:
    """How many cases are open now, and how many of them for each value of each dimension: gone through once."""
    rows = _standing(viewer, chosen).order_by().values_list(*by).annotate(number=Count("*"))
    total, found = 0, {each: Counter[Any]() for each in by}
    for *keys, number in rows:
        total += number
        for each, key in zip(by, keys, strict=True):
            found[each][key] += number
    return total, found


def ended(
    viewer: Viewer, standing: Mapping[str, Counter[Any]], period: Period, chosen: Mapping[str, str]
) -> Mapping[str, Counter[Any]]:
    """The parts of what was open at the end of the period, from those of what is open now."""
    if period.last >= timezone.localdate():
        return standing
    later = Tallies(viewer, chosen, period.last + A_DAY, latest(period))
    found = {}
    for by, numbers in standing.items():
        found[by] = Counter(numbers)
        for key, moved in later.moved(by).items():
            found[by][key] += moved.settled - moved.opened
    return found


def _ends(period: Period) -> dict[dt.datetime, Q]:
    """When the period ends, and for which facts: a past day by the clock of each site; today, for who looks, now."""
    if period.last >= timezone.localdate():
        return {timezone.now(): Q()}
    midnight = dt.datetime.combine(period.last + A_DAY, dt.time())
    sites: dict[dt.datetime, list[int]] = defaultdict(list)
    for site, zone in Site.objects.values_list("pk", "time_zone"):
        sites[midnight.replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC)].append(site)
    return {moment: Q(site__in=theirs) for moment, theirs in sorted(sites.items())} or {timezone.now(): Q()}


def _standing(viewer: Viewer, chosen: Mapping[str, str]) -> QuerySet[KpiFact]:
    """The facts of cases that are open now."""
    return visible_to(KpiFact.objects.filter(**chosen), viewer, "kpis.view").filter(until__isnull=True)


def open_then(viewer: Viewer, period: Period, chosen: Mapping[str, str]) -> QuerySet[KpiFact]:
    """The facts of cases that are open at the end of the period: as many as the backlog counts."""
    return _open_at(viewer, period, chosen, _ends(period))


def _open_at(
    viewer: Viewer, period: Period, chosen: Mapping[str, str], ends: Mapping[dt.datetime, Q]
) -> QuerySet[KpiFact]:  # fmt: skip
    if period.last >= timezone.localdate():
        return _standing(viewer, chosen)
    facts = visible_to(KpiFact.objects.filter(subject=KpiSubject.CASE, **chosen), viewer, "kpis.view")
    facts = facts.filter(at__lt=max(ends), day__lte=period.last).filter(Q(until__isnull=True) | Q(until__gte=min(ends)))
    for moment, theirs in list(ends.items())[1:]:
        facts = facts.exclude(theirs, until__lt=moment)
    return facts


def age_at(viewer: Viewer, period: Period, share: float, number: int, chosen: Mapping[str, str]) -> float | None:
    """The age in seconds that a share of the cases open at the end of the period, `number` in all, do not exceed."""
    if number < 1:
        return None
    now, ends = timezone.now(), _ends(period)
    (end, _), *further = ends.items()
    ended_at = Case(
        *(When(theirs, then=Constant(min(moment, now))) for moment, theirs in further),
        default=Constant(min(end, now)), output_field=DateTimeField(),
    )  # fmt: skip
    found = _open_at(viewer, period, chosen, ends).annotate(ended_at=ended_at)
    rank = max(-(-int(share * 100) * number // 100), 1)
    # Where the day ends at one moment everywhere, an index gives the order. That of what is open now holds nothing
    # else and is read from the nearer end; of a past day it is not known how much was settled since.
    if period.last >= timezone.localdate() and 2 * rank > number:
        order, place = F("at").asc(), number - rank
    else:
        order, place = (F("ended_at") - F("at")).asc() if further else F("at").desc(), rank - 1
    rows = found.order_by(order).values_list("ended_at", "at")
    return next(((then - at).total_seconds() for then, at in rows[place : place + 1]), None)


def ages(viewer: Viewer, period: Period, number: int, chosen: Mapping[str, str]) -> list[int]:
    """How many of the cases open at the end of the period, `number` in all, are younger than each of AGES, and older.

    The rest of all are the oldest: only the young are looked at.
    """
    numbers: Counter[int] = Counter()
    ends = _ends(period)
    for moment, theirs in ends.items():
        edges = [min(moment, timezone.now()) - dt.timedelta(seconds=age) for age in AGES]
        younger = (
            _open_at(viewer, period, chosen, ends)
            .filter(theirs, at__gt=edges[-1])
            .aggregate(**{f"under{place}": Count("at", filter=Q(at__gt=edge)) for place, edge in enumerate(edges)})
        )
        steps = [0, *(younger[f"under{place}"] for place in range(len(edges)))]
        numbers.update({place: after - before for place, (before, after) in enumerate(pairwise(steps))})
    # What came or went since they were counted is no old case.
    numbers[len(AGES)] = max(number - numbers.total(), 0)
    return [numbers[place] for place in range(len(AGES) + 1)]
