"""When things happen in a radiology department: the day's and the week's curve, and when people are at their desks."""

from datetime import datetime, timedelta
from random import Random

from orchestrator.simulator.day import bustle

# Exams by day of the week from Monday, where 1 is an ordinary one.
_WEEKDAYS = (1.05, 1.0, 1.0, 1.0, 0.9, 0.35, 0.25)
_OPENS, _CLOSES = 7, 18
_NOT_YET = timedelta(hours=1)
"""What began within the last hour is left to those who come live."""


def starts(*, days: int, patients: int, seed: int, now: datetime) -> list[datetime]:
    """The scheduled starts of so many exams over the past `days` and today, the earliest first, on five minutes."""
    rng = Random(f"{seed}:starts")
    hour = (now - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
    hours, weights = list[datetime](), list[float]()
    while hour + _NOT_YET <= now - _NOT_YET:
        hours.append(hour)
        weights.append(bustle(hour) * _WEEKDAYS[hour.weekday()])
        hour += timedelta(hours=1)
    chosen = rng.choices(hours, weights, k=patients)
    return sorted(hour + timedelta(minutes=5 * rng.randrange(12)) for hour in chosen)


def ordered_before(rng: Random) -> timedelta:
    """How long before its start an exam was ordered: some hours, seldom days, in an emergency minutes."""
    return timedelta(minutes=min(max(8.0, rng.lognormvariate(5.2, 1.1)), 4 * 24 * 60))


def begun_after(rng: Random, start: datetime) -> timedelta:
    """How late an exam begins: never on another day than it was scheduled."""
    late = timedelta(minutes=rng.triangular(0, 25, 4))
    return late if (start + late).date() == start.date() else timedelta()


def delay(rng: Random) -> timedelta:
    """How long a case waits while people are there."""
    return timedelta(minutes=rng.lognormvariate(3.4, 0.9))


def seen_at(rng: Random, opened: datetime) -> datetime:
    """When somebody takes up a case that was opened then: half within half an hour, at night the morning after."""
    seen = opened + delay(rng)
    if _OPENS <= seen.hour < _CLOSES:
        return seen
    morning = seen.replace(hour=_OPENS, minute=0, second=0, microsecond=0)
    return morning + timedelta(days=seen.hour >= _CLOSES, minutes=rng.uniform(5, 90))
