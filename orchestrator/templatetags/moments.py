"""Dates, times and durations in words.

Peers' dates are read from DICOM (DA, TM, DT: PS3.5 section 6.2) and HL7 (TS: chapter 2A) text and shown in ISO
form; what cannot be read is shown as it was sent. Birth dates never pass through a time zone.
"""

import datetime as dt
import re
from typing import NamedTuple

from django.utils import timezone

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_DATE = re.compile(r"^(\d{4})(\d{2})?(\d{2})?$")
_TIME = re.compile(r"^(\d{2})(\d{2})?(\d{2})?(\.\d+)?$")
_MOMENT = re.compile(r"^(\d{4,14})(\.\d+)?([+-]\d{4})?$")


class Due(NamedTuple):
    """Time left to a target: colour (None: nothing presses), icon, and the words that say the same."""

    colour: str | None
    words: str


def long_ago(seconds: float) -> str:
    """A span in words, in the two largest units that matter: `12 s`, `46 min`, `4 h 11`, `3 d 4 h`."""
    whole = int(abs(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d}"
    days, hours = whole // _DAY, whole % _DAY // _HOUR
    return f"{days} d {hours} h" if hours and days < 10 else f"{days} d"


def relative(moment: dt.datetime, now: dt.datetime) -> str:
    """`46 min ago`, `in 5 min`; after two weeks the date, which then says more."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 5:
        return "just now"
    if abs(seconds) >= 14 * _DAY:
        return timezone.localtime(moment).date().isoformat()
    return f"{long_ago(seconds)} ago" if seconds > 0 else f"in {long_ago(seconds)}"


def due(moment: dt.datetime, now: dt.datetime) -> Due:
    """Time left: over is bad, under an hour waits, later is plain. The words always carry the meaning."""
    seconds = (moment - now).total_seconds()
    if seconds < 0:
        return Due("bad", f"{long_ago(seconds)} over")
    return Due("wait" if seconds < _HOUR else None, f"{long_ago(seconds)} left")


def exact(moment: dt.datetime) -> str:
    """The moment in the viewer's zone, with the zone's name: `Mon 16 Nov 2026, 09:58:00 CET`."""
    return timezone.localtime(moment).strftime("%a %d %b %Y, %H:%M:%S %Z")


def iso_date(value: object) -> str:
    """`1968-03-14` from a date or from DA or TS text; shorter HL7 forms stay short (`1968-03`)."""
    if isinstance(value, dt.datetime):
        return timezone.localtime(value).date().isoformat() if timezone.is_aware(value) else value.date().isoformat()
    if isinstance(value, dt.date):
        return value.isoformat()
    text = str(value or "").strip()
    found = _DATE.match(text.replace(".", "")) or _DATE.match(text[:8])
    return "-".join(filter(None, found.groups())) if found else text


def iso_time(value: object) -> str:
    """`08:47:10` from a time or from TM text, without the fraction of a second."""
    if isinstance(value, dt.datetime | dt.time):
        return value.strftime("%H:%M:%S")
    text = str(value or "").strip()
    found = _TIME.match(text.replace(":", ""))
    return ":".join(filter(None, found.groups()[:3])) if found else text


def iso_moment(value: object) -> str:
    """`2026-11-16 08:45:00 +0100` from DT or TS text, as precise as it was sent; its zone is kept, not applied."""
    if isinstance(value, dt.datetime):
        return exact(value) if timezone.is_aware(value) else value.strftime("%Y-%m-%d %H:%M:%S")
    text = str(value or "").strip()
    found = _MOMENT.match(text)
    if not found:
        return text
    digits, _fraction, zone = found.groups()
    return " ".join(filter(None, (iso_date(digits[:8]), iso_time(digits[8:]), zone)))


def age(born: object, on: dt.date) -> str:
    """A person's age in words: `65 y`, under two years `14 mo`, under two months `12 d`. Empty when not known."""
    text = iso_date(born)
    try:
        date = dt.date.fromisoformat(text)
    except ValueError:
        return ""
    days = (on - date).days
    if days < 0:
        return ""
    months = (on.year - date.year) * 12 + on.month - date.month - (on.day < date.day)
    if days < 61:
        return f"{days} d"
    return f"{months} mo" if months < 24 else f"{months // 12} y"
