"""`{% load series %}`: what stands on a page for each day of a year, 366 times: as nodes of a template it took longer
than all else of the page."""

from collections.abc import Iterable
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from .charts import Chart

register = template.Library()

_NUMBER = '<td class="num">{}</td>'
_MISSED = '<td class="num is-bad c">{}<span class="sr">, missed</span></td>'
_MOVE = '<td class="num"><a href="{}&amp;counted={}">{}</a></td>'


@register.simple_tag
def areas(chart: Chart) -> SafeString:
    """The whole height above each label of a chart, which says under the pointer what stands there."""
    return format_html_join(
        "",
        '<rect class="hit" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
        ((hit.x, chart.top, hit.width, chart.height, hit.words) for hit in chart.hits),
    )


@register.simple_tag
def kpi_rows(rows: Iterable[Any], address: str, unit: str, *, moves: object) -> SafeString:
    """The rows of a table (views.kpi_tables.Row), each with its link, from the address of what is behind them all.

    `moves`: of a backlog, also what was opened and settled.
    """
    cells = (_cells(row, f"{address}&{row.query}", unit, moves) for row in rows)
    return format_html_join("\n", "<tr>{}{}{}</tr>", cells)


def _cells(row: Any, address: str, unit: str, moves: object) -> tuple[SafeString, ...]:
    if row.value.value is None:
        name = format_html('<th scope="row"><span class="sub">{}</span></th>', row.label)
    else:
        name = format_html('<th scope="row"><a href="{}">{}</a></th>', address, row.label)
    value = format_html(_MISSED if row.missed else _NUMBER, row.text)
    if unit != "cases":
        counted = format_html(_NUMBER + _NUMBER, f"{row.value.numerator:,}", f"{row.value.denominator:,}")
    elif moves:
        sides = zip(row.flow._fields, row.flow, strict=True)
        counted = format_html_join("", _MOVE, ((address, side, f"{number:,}") for side, number in sides))
    else:
        counted = SafeString("")
    return name, value, counted
