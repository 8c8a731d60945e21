"""What counts, computed from what happened to one study, case or order: pure, and the same for one as for all.

The events of one subject are written under its lock, so that their ids are in the order in which they happened.
"""

import datetime as dt
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

# Kinds of cases that ask to whom and to what images belong (reconciliation opens them).
IDENTITY_KINDS = frozenset(
    {"unmatched_study", "patient_conflict", "ambiguous_match", "study_uid_conflict", "wrong_worklist_entry"}
)
_STEPS: tuple[tuple[float, str], ...] = (
    (0.001, "1 1.2 1.5 2 2.5 3 4 5 6 8 10 12 15 20 25 30 40 50 60 80 100 120 150 200 250 300 400 500 600 800"),
    (1, "1 1.2 1.5 2 2.5 3 4 5 6 8 10 12 15 20 25 30 40 50"),
    (60, "1 1.25 1.5 2 2.5 3 4 5 6 8 10 12 15 20 25 30 40 50"),
    (3600, "1 1.25 1.5 2 2.5 3 4 5 6 8 10 12 16 20"),
    (86400, "1 1.25 1.5 2 2.5 3 4 5 6 8 10 12 15 20 25 30"),
)
# Durations are counted in steps: where each ends, in seconds, as people say it, at most a third above the one before.
# What is longer than the last counts as the last.
EDGES = tuple(round(unit * float(number), 6) for unit, numbers in _STEPS for number in numbers.split())


class Outcome(StrEnum):
    """What a study came to, and what a case did."""

    AUTO = "auto"
    PERSON = "person"
    HELD = "held"
    OPENED = "opened"
    REOPENED = "reopened"
    RESOLVED = "resolved"
    DISMISSED = "dismissed"


OPENING = (Outcome.OPENED, Outcome.REOPENED)
CLOSING = (Outcome.RESOLVED, Outcome.DISMISSED)
JUDGEMENTS = ("claim.matched", "claim.held", "claim.rejected")
CASE_MOVES = {f"case.{outcome}": outcome for outcome in (*OPENING, *CLOSING)}


class Happening(NamedTuple):
    """What a WorkflowEvent says that matters here."""

    pk: int
    name: str
    at: dt.datetime
    subject_id: int
    site_id: int
    actor_name: str
    detail: Mapping[str, Any]


class Fact(NamedTuple):
    """One thing that counts; models.kpi says what the columns mean."""

    at: dt.datetime
    until: dt.datetime | None
    site_id: int
    modality: str
    source: str
    outcome: str
    reason: str = ""
    seconds: float | None = None

    def local(self, zone: ZoneInfo) -> tuple[dt.date, int]:
        """Day and hour on the clock of its site."""
        there = self.at.astimezone(zone)
        return there.date(), there.hour


def of_study(events: Iterable[Happening], origins: Mapping[int, tuple[str, str]]) -> list[Fact]:
    """A study counts when first judged. `origins`: claim id -> its modality and calling AE title."""
    first: Happening | None = None
    last: dict[int, Happening] = {}
    reason = ""
    for event in sorted(events, key=lambda event: event.pk):
        if event.name in JUDGEMENTS:
            first = first or event
            last[event.subject_id] = event
        elif event.name == "case.opened" and event.detail.get("kind") in IDENTITY_KINDS:
            reason = reason or str(event.detail.get("reason_code", ""))
    if first is None:
        return []
    modality, source = origins.get(first.subject_id, ("", ""))
    return [Fact(first.at, first.at, first.site_id, modality, source, _outcome(last.values()), reason)]


def _outcome(judgements: Iterable[Happening]) -> Outcome:
    """As the worst of its claims."""
    found = set()
    for event in judgements:
        by_rule = event.name == "claim.matched" and event.detail.get("matched_by") == "auto"
        found.add(Outcome.HELD if event.name == "claim.held" else Outcome.AUTO if by_rule else Outcome.PERSON)
    return next(each for each in (Outcome.HELD, Outcome.PERSON, Outcome.AUTO) if each in found)


def of_case(events: Iterable[Happening]) -> list[Fact]:
    """Each time that a case was opened, until when; and each time that it was settled."""
    facts: list[Fact] = []
    about = ("", "", "")
    standing: int | None = None
    for event in sorted(events, key=lambda event: event.pk):
        outcome = CASE_MOVES.get(event.name)
        if outcome in OPENING and standing is None:
            if outcome == Outcome.OPENED:
                about = tuple(str(event.detail.get(name, "")) for name in ("modality", "source", "kind"))  # type: ignore[assignment]  # three of them
            standing = len(facts)
            facts.append(_move(event, outcome, about, event.at, None))
        elif outcome in CLOSING and standing is not None:
            # A clock that was set back between them makes no negative age.
            at = max(event.at, facts[standing].at)
            facts[standing] = facts[standing]._replace(until=at)
            facts.append(_move(event, outcome, about, at, at))
            standing = None
    return facts


def _move(
    event: Happening, outcome: Outcome, about: tuple[str, str, str], at: dt.datetime, until: dt.datetime | None
) -> Fact:
    modality, source, kind = about
    return Fact(at, until, event.site_id, modality[:16], source[:100], outcome, kind[:60])


def of_order(events: Iterable[Happening]) -> list[Fact]:
    """An order counts when a message first put it on the worklist: that event tells how long it took."""
    for event in sorted(events, key=lambda event: event.pk):
        seconds = event.detail.get("seconds_since_receipt")
        if event.name == "order.scheduled" and isinstance(seconds, int | float):
            modality = str(event.detail.get("modality", ""))[:16]
            bucket = bucket_name(bucket_of(float(seconds)))
            at = event.at
            return [Fact(at, at, event.site_id, modality, event.actor_name[:100], bucket, "", float(seconds))]
    return []


def bucket_of(seconds: float) -> int:
    """The step that a duration falls into; what took no time (or less, by another clock) into the first."""
    return min(bisect_left(EDGES, seconds), len(EDGES) - 1)


def bucket_name(bucket: int) -> str:
    """As an outcome: names sort as the steps do."""
    return f"{bucket:03d}"


def percentile(buckets: Mapping[int, int], share: float) -> float | None:
    """The upper end of the step with the duration at the rank that `share` of all do not exceed. None of nothing."""
    total = sum(buckets.values())
    if not total:
        return None
    rank = max(math.ceil(share * total), 1)
    passed = 0
    for bucket in sorted(buckets):
        passed += buckets[bucket]
        if passed >= rank:
            return EDGES[bucket]
    raise AssertionError("a rank is not beyond the total")


def rate(numerator: int, denominator: int) -> float | None:
    """In percent; a rate of nothing is none."""
    return 100 * numerator / denominator if denominator else None


def backlog(now: int, days: Sequence[tuple[int, int]]) -> list[int]:
    """What was open at the end of each day, from what is open at the end of the last and (opened, closed) per day."""
    standing = [now]
    for opened, closed in reversed(days[1:]):
        standing.append(standing[-1] - opened + closed)
    return list(reversed(standing))
