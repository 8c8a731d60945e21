"""How a KPI's value, its target and its change are written."""

from orchestrator.kpis.definitions import Definition

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def written(value: float | None, unit: str) -> str:
    """`97.1%`, `1,248`, `0.42 s`, `6 min 20`, `3 h 10`, `2 d 4 h`; empty when there is none."""
    if value is None:
        return ""
    if unit == "%":
        return f"{value:.1f}%"
    return span(value) if unit == "s" else f"{value:,.0f}"


def span(seconds: float) -> str:
    """A duration to three figures, in the unit that a person would say."""
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02}"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02}"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def compared(definition: Definition, value: float | None, before: float | None, days: int) -> str:
    """Against the period of the same length before it, in words."""
    period = "day" if days == 1 else f"{days} days"
    if value is None or before is None:
        return f"nothing to compare with in the {period} before"
    if written(value, definition.unit) == written(before, definition.unit):
        return f"as in the {period} before"
    better = (value > before) == definition.more_is_better
    change = abs(value - before)
    amount = f"{change:.1f} points" if definition.unit == "%" else written(change, definition.unit)
    if definition.unit == "cases":
        return f"{amount} {'more' if value > before else 'fewer'} than the {period} before"
    return f"{amount} {'better' if better else 'worse'} than the {period} before"


def reason_label(code: str) -> str:
    """`BIRTH_DATE_DIFFERS` as a person says it."""
    words = code.replace("_", " ").capitalize()
    return words.replace(" id", " ID").replace(" uid", " UID") if words else "Not held"
