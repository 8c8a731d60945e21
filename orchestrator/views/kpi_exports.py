"""The KPIs on paper, in a spreadsheet and as pictures."""

import csv
import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_GET

from orchestrator.kpis import backlog
from orchestrator.kpis.figures import Figure
from orchestrator.kpis.periods import Period

from . import kpi_tables, replies
from .kpis import Asked, known, row_of, subtitle

_COLUMNS = ("kpi", "split", "key", "value", "unit", "numerator", "denominator", "target", "counted_to")
# What a spreadsheet would take for a formula: AE titles and interfaces are named by peers.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _lines(figure: Figure, asked: Asked) -> Iterator[tuple[Any, ...]]:
    """The whole period, each day, and each part."""
    definition = figure.definition
    period = f"{figure.period.first} to {figure.period.last}"
    counted_to = timezone.localtime(asked.counted_to).isoformat(timespec="seconds")
    rows = [
        ("period", period, figure.whole),
        *(("day", row.key, row.value) for row in kpi_tables.day_rows(figure)),
        *((figure.by, row.label, row.value) for row in kpi_tables.split_rows(figure, asked.sites)),
    ]
    for split, key, value in rows:
        safe = f"'{key}" if key.startswith(_FORMULA) else key
        written = "" if value.value is None else round(value.value, 6)
        yield (
            definition.name, split, safe, written, definition.unit, value.numerator,
            "" if value.denominator is None else value.denominator, figure.target, counted_to,
        )  # fmt: skip


def _sheet(name: str, found: Iterable[Figure], asked: Asked) -> HttpResponse:
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}-{asked.period.last}.csv"'
    response.headers["Cache-Control"] = "no-store"
    writer = csv.writer(response)
    writer.writerow(_COLUMNS)
    for figure in found:
        writer.writerows(_lines(figure, asked))
    return response


@require_GET
def all_as_csv(request: HttpRequest) -> HttpResponse:
    """Every KPI of the period as one table."""
    asked = Asked.by_request(request)
    return _sheet("kpis", asked.figures().values(), asked)


@require_GET
def as_csv(request: HttpRequest, name: str) -> HttpResponse:
    """One KPI as a table."""
    asked = Asked.by_request(request, known(name))
    return _sheet(name, [asked.figure(name)], asked)


@require_GET
def as_picture(request: HttpRequest, name: str, chart: str) -> HttpResponse:
    """A chart (`days`, `split`, `ages`) as an SVG file that stands alone."""
    asked = Asked.by_request(request, known(name))
    figure = asked.figure(name)
    drawn = None
    if chart == "days":
        drawn = kpi_tables.day_chart(figure)
    elif chart == "split":
        drawn = kpi_tables.split_chart(figure, asked.sites)
    elif chart == "ages" and name == "exception_backlog":
        drawn = kpi_tables.age_chart(backlog.ages(asked.viewer, asked.period, figure.whole.numerator, asked.filters))
    if drawn is None:
        raise Http404(chart)
    picture = render_to_string("orchestrator/kpi_picture.svg", {"chart": drawn, "asked": asked, "figure": figure})
    response = HttpResponse(picture, content_type="image/svg+xml; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}-{chart}-{asked.period.last}.svg"'
    response.headers["Cache-Control"] = "no-store"
    return response


@require_GET
def review(request: HttpRequest) -> HttpResponse:
    """The week's exceptions and KPIs, to be printed on two sheets and talked about."""
    asked = Asked.by_request(request)
    if not {"from", "to"} & request.GET.keys():
        # The last whole week, Monday to Sunday.
        today = timezone.localdate()
        monday = today - dt.timedelta(days=today.weekday() + 7)
        asked = asked.over(Period(monday, monday + dt.timedelta(days=6)))
    found = asked.figures("reason", "source")
    waiting = found["exception_backlog"]
    ages = backlog.ages(asked.viewer, asked.period, waiting.whole.numerator, asked.filters)
    parts = [
        ("Exceptions open, by kind", "exception_backlog", "reason"),
        ("Exceptions open, by source", "exception_backlog", "source"),
        ("Mismatches, by reason", "mismatch_rate", "reason"),
        ("Mismatches, by source", "mismatch_rate", "source"),
    ]
    context = {
        "section": "kpis",
        "heading": "Weekly exceptions review",
        "subtitle": subtitle(asked, list(found.values())),
        "asked": asked,
        "rows": [row_of(figure, asked) for figure in found.values()],
        "backlog_chart": kpi_tables.day_chart(waiting),
        "mismatch_chart": kpi_tables.day_chart(found["mismatch_rate"]),
        "ages": list(zip(kpi_tables.AGE_LABELS, ages, strict=True)),
        "flows": waiting.flows,
        "opened": sum(moved.opened for moved in waiting.flows.values()),
        "settled": sum(moved.settled for moved in waiting.flows.values()),
        "parts": [
            {"title": title, "name": name, "rows": kpi_tables.split_rows(found[name].split_by(by), asked.sites)[:8]}
            for title, name, by in parts
        ],
    }  # fmt: skip
    return replies.page(request, "orchestrator/kpi_review.html", "orchestrator/_kpi_review.html", context)
