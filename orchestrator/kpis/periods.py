"""The days that figures are about."""

import datetime as dt
from dataclasses import dataclass

from django.core.exceptions import BadRequest
from django.utils import timezone

LONGEST = 366  # days
# Nothing that was counted lies before it; nor is anything more than a year ahead.
EARLIEST = dt.date(2000, 1, 1)
A_DAY = dt.timedelta(days=1)


def days_between(first: dt.date, last: dt.date) -> list[dt.date]:
    """Both counted."""
    return [first + number * A_DAY for number in range((last - first).days + 1)]


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
        if begin < EARLIEST or end > timezone.localdate() + LONGEST * A_DAY:
            raise BadRequest(f"A period begins in {EARLIEST.year} or later, and ends within a year from now.")
        return cls(begin, end)
