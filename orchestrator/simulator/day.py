"""The day of a radiology: two waves of outpatients, a quiet night that belongs to emergencies."""

from datetime import datetime

_BY_HOUR = (
    0.3, 0.25, 0.25, 0.25, 0.25, 0.3, 0.6, 1.0, 1.4, 1.5, 1.5, 1.4, 1.1, 1.2, 1.4, 1.4, 1.2, 1.0, 0.8, 0.6, 0.5, 0.4,
    0.4, 0.3,
)  # fmt: skip


def bustle(when: datetime) -> float:
    """How many come at this hour, where 1 is an ordinary working hour."""
    return _BY_HOUR[when.hour]
