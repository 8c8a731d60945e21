"""What the KPI pages show of a figure: rows of tables, charts, words; the same for pages, print, CSV and pictures."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from orchestrator.kpis import counting
from orchestrator.kpis.counting import Outcome
from orchestrator.kpis.figures import Figure, Value
from orchestrator.kpis.tallies import Moved
from orchestrator.kpis.words import reason_label, span, written
from orchestrator.services.exceptions import case_kinds
from orchestrator.templatetags import charts
from orchestrator.templatetags.charts import Chart, Column

SPLITS = {"site": "Site", "modality": "Modality", "source": "Source", "hour": "Hour", "reason": "Reason"}
OUTCOMES: Mapping[str, str] = {
    Outcome.AUTO: "Matched by rule",
    Outcome.PERSON: "Settled by a person",
    Outcome.HELD: "Held",
    Outcome.OPENED: "Opened",
    Outcome.REOPENED: "Opened again",
    Outcome.RESOLVED: "Resolved",
    Outcome.DISMISSED: "Dismissed",
}
_SAYS_NOTHING: Mapping[str, tuple[str, ...]] = {
    "": ("hour", "reason"), "auto_match_rate": ("reason",), "exception_backlog": ("hour",),
    "order_to_worklist": ("reason",),
}  # fmt: skip
_STACKED = 3


class Row(NamedTuple):
    """One line of a table: its name, what it is worth, how much was counted, and the query of what is behind it."""

    key: str
    label: str
    value: Value
    text: str
    missed: bool
    query: str
    # Cases opened and settled on a day.
    flow: Moved | None = None


def splits_of(name: str) -> dict[str, str]:
    """The dimensions that say something about a KPI; with no name, about all of them in a row of a table."""
    return {key: label for key, label in SPLITS.items() if key not in _SAYS_NOTHING.get(name, ())}


def label_of(by: str, key: Any, sites: Mapping[int, str]) -> str:
    """How a value of a dimension is written."""
    if by == "site":
        return sites.get(key, "another site")
    if by == "hour":
        return f"{key:02d}"
    if by == "reason":
        return kind_label(str(key))
    return str(key) or "not said"


def kind_label(reason: str) -> str:
    kinds = case_kinds()
    return kinds[reason].label if reason in kinds else reason_label(reason)


def value_text(figure: Figure, value: Value) -> str:
    return written(value.value, figure.definition.unit) or f"no {figure.definition.noun}"


def _missed(figure: Figure, value: Value) -> bool:
    return value.value is not None and not figure.definition.reaches(value.value, figure.target)


def day_rows(figure: Figure) -> list[Row]:
    return [
        Row(
            day.isoformat(), f"{day:%a %d %b}", value, value_text(figure, value), _missed(figure, value), f"day={day}",
            figure.flows.get(day),
        )
        for day, value in figure.series.items()
    ]  # fmt: skip


def split_rows(figure: Figure, sites: Mapping[int, str]) -> list[Row]:
    """The breakdown; parts of a backlog or of the mismatches by reason have no target of their own."""
    return [
        Row(
            str(key), label_of(figure.by, key, sites), value, value_text(figure, value),
            figure.definition.unit != "cases" and figure.by != "reason" and _missed(figure, value),
            urlencode({figure.by: key}),
        )
        for key, value in figure.breakdown.items()
    ]  # fmt: skip


def _write(figure: Figure) -> Callable[[float], str]:
    """The marks of an axis."""
    unit = figure.definition.unit
    if unit == "%":
        return lambda value: f"{value:g}%"
    return (lambda value: span(value) if value else "0") if unit == "s" else lambda value: f"{value:,.0f}"


def _most(figure: Figure) -> float | None:
    return 100.0 if figure.definition.unit == "%" else None


def day_chart(figure: Figure) -> Chart | None:
    """The value of each day, against the target."""
    columns = [
        Column(f"{day:%d %b}", _parts(value), f"{day:%a %d %b}: {value_text(figure, value)}")
        for day, value in figure.series.items()
    ]
    title = (
        f"{figure.definition.label} by day, {figure.period.first:%d %b} to {figure.period.last:%d %b %Y}: "
        f"{value_text(figure, figure.whole)} in all, target {written(figure.target, figure.definition.unit)}"
    )
    return charts.draw(columns, title=title, write=_write(figure), goal=figure.target, line=True, most=_most(figure))


def _parts(value: Value) -> list[float] | None:
    return None if value.value is None else [value.value]


def _by_reason(figure: Figure) -> Counter[str]:
    total: Counter[str] = Counter()
    for reasons in figure.reasons.values():
        total.update(reasons)
    return total


def _leading(figure: Figure) -> list[str]:
    """The reasons that are drawn apart, the most frequent first."""
    return [reason for reason, _ in _by_reason(figure).most_common(_STACKED)]


def split_chart(figure: Figure, sites: Mapping[int, str]) -> Chart | None:
    """The value of each part; mismatches are stacked by what was the reason."""
    rows = split_rows(figure, sites)[:24]
    stacked = figure.definition.name == "mismatch_rate" and figure.by != "reason"
    columns = []
    for row, (key, value) in zip(rows, figure.breakdown.items(), strict=False):
        parts = _stack(figure, key, value) if stacked else _parts(value)
        columns.append(Column(row.label[:14], parts, f"{row.label}: {row.text}"))
    told = [row for row in rows if row.value.value is not None]
    worst = max(told, key=lambda row: row.value.value or 0.0, default=None)
    title = f"{figure.definition.label} by {SPLITS[figure.by].lower()}"
    if worst:
        title += f"; highest: {worst.label}, {worst.text}"
    goal = None if figure.definition.unit == "cases" or figure.by == "reason" else figure.target
    return charts.draw(columns, title=title, write=_write(figure), goal=goal, most=_most(figure))


def _stack(figure: Figure, key: Any, value: Value) -> list[float] | None:
    if not value.denominator:
        return None
    reasons = figure.reasons.get(key, Counter())
    parts = [100 * reasons[reason] / value.denominator for reason in _leading(figure)]
    # The rest in the last colour, as the legend has it.
    parts += [0.0] * (_STACKED - len(parts))
    return [*parts, max((value.value or 0.0) - sum(parts), 0.0)]


def legend(figure: Figure) -> list[dict[str, str]]:
    """What the parts of the stacks are, each with its share of the mismatches."""
    counts = _by_reason(figure)
    if not counts or figure.definition.name != "mismatch_rate" or figure.by == "reason":
        return []
    shown = [(kind_label(reason), counts[reason]) for reason in _leading(figure)]
    shown.append(("Other reasons", counts.total() - sum(number for _, number in shown)))
    return [
        {"css": css, "label": label, "share": f"{number / counts.total():.0%}"}
        for css, (label, number) in zip((*charts.STACK[: len(shown) - 1], charts.STACK[-1]), shown, strict=True)
        if number
    ]


AGE_LABELS = ("under 1 h", "1 to 4 h", "4 to 8 h", "8 to 24 h", "1 to 3 d", "3 to 7 d", "over 7 d")


def age_chart(numbers: Sequence[int]) -> Chart | None:
    columns = [
        Column(label, [float(number)], f"{label}: {number:,}")
        for label, number in zip(AGE_LABELS, numbers, strict=True)
    ]
    title = "Age of the open cases: " + ", ".join(f"{column.words.replace(':', '')}" for column in columns)
    return charts.draw(columns, title=title, write=lambda value: f"{value:,.0f}") if sum(numbers) else None


def outcome_text(outcome: str) -> str:
    """What became of a fact, in words; of an order how long it took, at most."""
    if outcome in OUTCOMES:
        return OUTCOMES[outcome]
    return f"up to {span(counting.EDGES[int(outcome)])}"
