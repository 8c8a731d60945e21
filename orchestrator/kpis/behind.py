"""The facts that a number was computed from."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.db.models import Q, QuerySet, Sum

from orchestrator.kpis import backlog, counting
from orchestrator.kpis.counting import CLOSING, OPENING, Outcome
from orchestrator.kpis.figures import DIMENSIONS, SUBJECTS, targets
from orchestrator.kpis.periods import A_DAY, Period
from orchestrator.models import WHOLE_DAY, KpiFact, KpiTally
from orchestrator.permissions import Viewer, visible_to

# What came to a backlog, and what left it.
MOVES: Mapping[str, tuple[Outcome, ...]] = {"opened": OPENING, "settled": CLOSING}


def facts_behind(viewer: Viewer, name: str, period: Period, asked: Mapping[str, str]) -> QuerySet[KpiFact]:
    """What a number was computed from, for who may see it: `asked` are dimensions, `day`, and `counted`.

    `counted`: "numerator", what the value counts, or "rest", what it does not. Of the backlog, "opened" or "settled" in
    the period; else what is open at its end. Raises BadRequest.
    """
    if "day" in asked:
        period = Period.of(asked["day"], asked["day"])
    chosen = {key: value for key, value in asked.items() if key in DIMENSIONS}
    is_backlog, side = name == "exception_backlog", asked.get("counted", "")
    if is_backlog and side not in MOVES:
        return backlog.open_then(viewer, period, chosen)
    facts = visible_to(KpiFact.objects.filter(subject=SUBJECTS[name], **chosen), viewer, "kpis.view")
    # The index is by moment; a day by the clock of a site lies within a day of one in UTC.
    begin, end = (dt.datetime.combine(day, dt.time(), dt.UTC) for day in (period.first, period.last))
    facts = facts.filter(at__gte=begin - A_DAY, at__lt=end + 2 * A_DAY, day__range=(period.first, period.last))
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
