"""What the tallies come to by day or by another dimension: the database adds up, a row is what a page shows."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from django.db.models import Aggregate, Q, QuerySet, Sum, TextField

from orchestrator.kpis.counting import CLOSING, OPENING, Outcome
from orchestrator.models import WHOLE_DAY, KpiSubject, KpiTally
from orchestrator.permissions import Viewer, visible_to


class Judged(NamedTuple):
    """Studies: how many were judged, of these matched by rule, and of these asked about."""

    number: int
    by_rule: int
    asked: int

    def total(self) -> int:
        return self.number


class Steps(Counter[int]):
    """Orders: how many took as long as each step of durations (counting.EDGES)."""


class Moved(NamedTuple):
    """Cases: how many were opened (and opened again), and how many settled."""

    opened: int
    settled: int


NOT_JUDGED, NOT_MOVED = Judged(0, 0, 0), Moved(0, 0)


class _Listed(Aggregate):
    """Outcome and count of each tally, one after the other."""

    function = "string_agg"
    arg_joiner = " || ' ' || "
    template = "%(function)s(%(expressions)s, ' ')"
    output_field = TextField()

    def as_sqlite(self, *args: Any, **kwargs: Any) -> Any:
        return self.as_sql(*args, function="group_concat", **kwargs)


class Tallies:
    """The tallies that a viewer may see: those with the chosen dimensions, between two days, both counted."""

    def __init__(self, viewer: Viewer, chosen: Mapping[str, str], first: dt.date, last: dt.date) -> None:
        rows = visible_to(KpiTally.objects.filter(**chosen), viewer, "kpis.view")
        self._rows = rows.filter(day__range=(first, last), count__gt=0).order_by()

    def _of(self, subject: KpiSubject, by: str) -> QuerySet[KpiTally]:
        # Each hour is named for the index, in which it stands before the day.
        return self._rows.filter(subject=subject, hour__in=range(24) if by == "hour" else (WHOLE_DAY,))

    def judged(self, by: str) -> dict[Any, Judged]:
        rows = self._of(KpiSubject.STUDY, by).values_list(by).annotate(
            number=Sum("count"),
            by_rule=Sum("count", filter=Q(outcome=Outcome.AUTO), default=0),
            asked=Sum("count", filter=~Q(reason=""), default=0),
        )  # fmt: skip
        return {key: Judged(*numbers) for key, *numbers in rows}

    def judged_for_reasons(self, by: str) -> tuple[dict[Any, Judged], dict[Any, Counter[str]]]:
        """The same, and of those asked about how many for each reason."""
        rows = self._of(KpiSubject.STUDY, by).values_list(by, "reason").annotate(
            number=Sum("count"), by_rule=Sum("count", filter=Q(outcome=Outcome.AUTO), default=0)
        )  # fmt: skip
        found, reasons = dict[Any, Judged](), dict[Any, Counter[str]]()
        for key, reason, number, by_rule in rows:
            part = Judged(number, by_rule, number if reason else 0)
            found[key] = judged_in_all((found.get(key, NOT_JUDGED), part))
            if reason:
                reasons.setdefault(key, Counter())[reason] = number
        return found, reasons

    def durations(self, by: str) -> dict[Any, Steps]:
        if by == "day":
            return self._durations_by_day()
        found: dict[Any, Steps] = {}
        rows = self._of(KpiSubject.ORDER, by).values_list(by, "outcome")
        for key, step, number in rows.annotate(number=Sum("count")):
            found.setdefault(key, Steps())[int(step)] = number
        return found

    def _durations_by_day(self) -> dict[Any, Steps]:
        """The same; days are many, with some twenty steps each: so each is one row."""
        found = {}
        rows = self._of(KpiSubject.ORDER, "day").values_list("day")
        for day, text in rows.annotate(listed=_Listed("outcome", "count")):
            steps: dict[int, int] = {}
            numbers = map(int, text.split())
            for step, number in zip(numbers, numbers, strict=True):
                steps[step] = steps.get(step, 0) + number
            found[day] = Steps(steps)
        return found

    def moved(self, by: str) -> dict[Any, Moved]:
        rows = self._of(KpiSubject.CASE, by).values_list(by).annotate(
            opened=Sum("count", filter=Q(outcome__in=OPENING), default=0),
            settled=Sum("count", filter=Q(outcome__in=CLOSING), default=0),
        )  # fmt: skip
        return {key: Moved(*numbers) for key, *numbers in rows}


def judged_in_all(parts: Iterable[Judged]) -> Judged:
    number = by_rule = asked = 0
    for part in parts:
        number, by_rule, asked = number + part.number, by_rule + part.by_rule, asked + part.asked
    return Judged(number, by_rule, asked)


def steps_in_all(parts: Iterable[Steps]) -> Steps:
    total = Steps()
    for part in parts:
        total.update(part)
    return total
