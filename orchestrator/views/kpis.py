"""The KPI pages: all of them in one table, each with its trend and splits, and what is behind every number."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import BadRequest, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from orchestrator.forms import TargetForm
from orchestrator.kpis import backlog, figures, words
from orchestrator.kpis.behind import count_behind, facts_behind
from orchestrator.kpis.definitions import DEFINITIONS
from orchestrator.kpis.figures import Figure
from orchestrator.kpis.periods import Period
from orchestrator.models import KpiFact, KpiTarget, Site
from orchestrator.permissions import Viewer, can_everywhere, require, require_everywhere, visible_to
from orchestrator.selectors import number_of
from orchestrator.services import kpi_rollups, kpi_targets
from orchestrator.templatetags import charts

from . import kpi_tables, lists, replies, viewer_of

PERIODS = (1, 7, 28, 90)
_GATHERED_WITHIN = dt.timedelta(minutes=1)
_SHOWN = 10
_COUNTED_TO = 10_000
_SPLIT = 4
_ADDRESSES = {"study": "/studies/{}/", "case": "/exceptions/{}/", "order": "/orders/{}/"}
_NAMES = {"study": "Study {}", "case": "EX-{}", "order": "Order {}"}
# What the value of a rate counts, and what it does not.
SIDES: Mapping[str, tuple[str, str]] = {
    "auto_match_rate": ("Matched by rule", "Not matched by rule"),
    "mismatch_rate": ("Mismatches", "No mismatch"),
    "order_to_worklist": ("Within the target", "Slower than the target"),
}


@dataclass(frozen=True)
class Asked:
    """What the address asks for."""

    viewer: Viewer
    sites: Mapping[int, str]
    period: Period
    by: str
    filters: Mapping[str, str]

    @classmethod
    def by_request(cls, request: HttpRequest, name: str = "") -> "Asked":
        """Raises PermissionDenied, BadRequest."""
        viewer = viewer_of(request)
        require(viewer, "kpis.view")
        sites = dict(visible_to(Site.objects.order_by("name"), viewer, "kpis.view").values_list("pk", "name"))
        known = kpi_tables.splits_of(name)
        by = request.GET.get("by", "")
        filters = {key: request.GET[key] for key in ("modality", "source") if key in request.GET}
        if site := lists.site_filter(request):
            filters["site"] = site
        period = Period.of(request.GET.get("from", ""), request.GET.get("to", ""))
        return cls(viewer, sites, period, by if by in known else "hour" if name == "mismatch_rate" else "site", filters)

    def figure(self, name: str) -> Figure:
        return figures.figure(self.viewer, name, self.period, by=self.by, filters=self.filters)

    def figures(self, *also: str) -> dict[str, Figure]:
        """All of them, in parts also by these dimensions."""
        by = (self.by, *also)
        return figures.figures(self.viewer, DEFINITIONS, self.period, by=by, filters=self.filters)

    def over(self, period: Period) -> "Asked":
        return replace(self, period=period)

    @property
    def where(self) -> str:
        named = [self.filters[key] for key in ("modality", "source") if key in self.filters]
        site = self.filters.get("site", "")
        return ", ".join([self.sites.get(int(site), "no site") if site else _all(self.sites), *named])

    @property
    def when(self) -> str:
        first, last = self.period.first, self.period.last
        return f"{last:%d %B %Y}" if first == last else f"{first:%d %b} to {last:%d %B %Y}"

    @cached_property
    def counted_to(self) -> dt.datetime:
        """Until when all that happened is in the figures."""
        return kpi_rollups.counted_to()

    @property
    def counted(self) -> str:
        at, now = timezone.localtime(self.counted_to), timezone.localtime()
        return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%d %b %H:%M}"

    @property
    def late(self) -> str:
        """Said where the figures are older than what is seldom gathered late."""
        is_late = timezone.now() - self.counted_to > _GATHERED_WITHIN
        return f"Counted to {self.counted} only." if is_late else ""

    @cached_property  # every row of a year's days has three links
    def query(self) -> str:
        """The same period and place, for links to other pages."""
        period = {"from": self.period.first.isoformat(), "to": self.period.last.isoformat()}
        # Said, also when it is all sites: else the site of the top bar would be taken.
        return urlencode({**period, **self.filters, "site": self.filters.get("site", lists.EVERY_SITE)})


def _all(sites: Mapping[int, str]) -> str:
    return next(iter(sites.values())) if len(sites) == 1 else "all sites"


def known(name: str) -> str:
    if name not in DEFINITIONS:
        raise Http404(name)
    return name


@require_GET
def overview(request: HttpRequest) -> HttpResponse:
    """All KPIs, each with its target, trend and what it is by site."""
    asked = Asked.by_request(request)
    found = list(asked.figures().values())
    rows = [row_of(figure, asked) for figure in found]
    context = {
        "section": "kpis",
        "heading": "KPIs",
        "subtitle": subtitle(asked, found),
        "asked": asked,
        "rows": rows,
        "trend_days": 2 * len(asked.period.days),
        "split_label": kpi_tables.SPLITS[asked.by].lower(),
        "splits": _chips(request, asked, kpi_tables.splits_of("")),
        "periods": period_chips(request, asked),
        "nothing": not any(figure.whole.denominator or figure.whole.value for figure in found),
    }
    return replies.page(request, "orchestrator/kpis.html", "orchestrator/_kpis.html", context)


def subtitle(asked: Asked, found: list[Figure]) -> str:
    missed = sum(figure.missed for figure in found)
    state = f"{missed or 'none'} of {len(found)} {'miss their' if missed > 1 else 'misses its'} target"
    return f"{asked.when}, {asked.where} · {state} · counted to {asked.counted}"


def row_of(figure: Figure, asked: Asked) -> dict[str, Any]:
    """One KPI as a row of the table."""
    head = head_of(figure)
    values = [value.value for value in (*figure.earlier.values(), *figure.series.values())]
    days = f"{figure.definition.label}, {len(values)} days to {figure.period.last:%d %b}"
    return {
        **head,
        "trend": charts.trend(values, figure.target, hot=figure.missed),
        "trend_label": f"{days}: {head['text']}, target {head['target']}",
        "split": kpi_tables.split_rows(figure, asked.sites)[:_SPLIT],
        "note": _note(figure),
    }


def head_of(figure: Figure) -> dict[str, Any]:
    """What is said first of a KPI: its value, beside the target and the period before."""
    return {
        "figure": figure,
        "definition": figure.definition,
        "text": kpi_tables.value_text(figure, figure.whole),
        "target": words.written(figure.target, figure.definition.unit),
        "state": state_of(figure),
        "compared": compared(figure),
    }


def state_of(figure: Figure) -> dict[str, str]:
    if figure.whole.value is None:
        return {"colour": "idle", "icon": "dashed", "text": f"No {figure.definition.noun}"}
    if figure.missed:
        return {"colour": "bad", "icon": "warn", "text": "Missed"}
    return {"colour": "good", "icon": "done", "text": "On target"}


def compared(figure: Figure) -> str:
    days = len(figure.period.days)
    return words.compared(figure.definition, figure.whole.value, figure.before.value, days)


def _note(figure: Figure) -> str:
    """What else is worth saying, in a few words."""
    if figure.definition.name == "exception_backlog":
        return f"p90 of the ages {words.span(figure.aside)}" if figure.aside is not None else ""
    if figure.definition.name == "order_to_worklist":
        return f"p50 {words.span(figure.aside)}" if figure.aside is not None else ""
    return f"{figure.whole.numerator:,} of {figure.whole.denominator:,}" if figure.whole.denominator else ""


def _chips(request: HttpRequest, asked: Asked, choices: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"label": label, "url": lists.address(request, by=key), "active": key == asked.by}
        for key, label in choices.items()
    ]


def period_chips(request: HttpRequest, asked: Asked) -> list[dict[str, Any]]:
    """Periods that end today."""
    chips = []
    for days in PERIODS:
        period = Period.of("", "", days=days)
        chips.append(
            {
                "label": "Today" if days == 1 else f"{days} days",
                "url": lists.address(request, **{"from": period.first, "to": period.last}),
                "active": period == asked.period,
            }
        )
    return chips


@require_GET
def kpi_page(request: HttpRequest, name: str) -> HttpResponse:
    """One KPI: what it means, its days, its parts, and the first of what is behind it."""
    asked = Asked.by_request(request, known(name))
    figure = asked.figure(name)
    facts = facts_behind(asked.viewer, name, asked.period, {**asked.filters, "counted": _first_side(name)})
    shown = list(facts.select_related("site").order_by("-at", "-pk")[:_SHOWN])
    context = {
        "section": "kpis",
        "heading": figure.definition.label,
        "subtitle": f"{asked.when}, {asked.where}",
        "asked": asked,
        **head_of(figure),
        "address": f"{reverse('kpi-behind', args=[name])}?{asked.query}",
        "periods": period_chips(request, asked),
        "splits": _chips(request, asked, kpi_tables.splits_of(name)),
        "split_label": kpi_tables.SPLITS[figure.by].lower(),
        "day_chart": kpi_tables.day_chart(figure),
        "split_caption": f"by {kpi_tables.SPLITS[figure.by].lower()}",
        "split_chart": kpi_tables.split_chart(figure, asked.sites),
        "split": kpi_tables.split_rows(figure, asked.sites),
        "legend": kpi_tables.legend(figure),
        "facts": [fact_row(fact) for fact in shown],
        "side": _first_side(name),
        "side_label": _sides(name)[_first_side(name)],
        "may_edit": can_everywhere(asked.viewer, "kpis.edit"),
        "set_by": KpiTarget.history.filter(name=name).order_by("-history_id").first(),
        "counted_label": SIDES.get(name, ("",))[0],
        "aside_text": words.span(figure.aside or 0),
        "empty_title": f"No {figure.definition.noun} in this period.",
        **(_backlog(asked, figure) if name == "exception_backlog" else {"days": kpi_tables.day_rows(figure)}),
    }
    return replies.page(request, "orchestrator/kpi.html", "orchestrator/_kpi.html", context)


def _backlog(asked: Asked, figure: Figure) -> dict[str, Any]:
    numbers = backlog.ages(asked.viewer, asked.period, figure.whole.numerator, asked.filters)
    return {"flows": figure.flows, "days": kpi_tables.day_rows(figure), "age_chart": kpi_tables.age_chart(numbers),
            "ages": list(zip(kpi_tables.AGE_LABELS, numbers, strict=True))}  # fmt: skip


def _first_side(name: str) -> str:
    """What is looked for first: the studies that a person had to settle, the orders that were slow."""
    return {"auto_match_rate": "rest", "order_to_worklist": "rest", "mismatch_rate": "numerator"}.get(name, "")


def _sides(name: str) -> dict[str, str]:
    """What there is to look for behind a number."""
    if name == "exception_backlog":
        return {"": "Open at the end", "opened": "Opened", "settled": "Settled"}
    return {"": "All that count", **dict(zip(("numerator", "rest"), SIDES[name], strict=True))}


def fact_row(fact: KpiFact) -> dict[str, Any]:
    return {
        "fact": fact,
        "name": _NAMES[fact.subject].format(fact.subject_id),
        "url": _ADDRESSES[fact.subject].format(fact.subject_id),
        "outcome": kpi_tables.outcome_text(fact.outcome) if fact.seconds is None else words.span(fact.seconds),
        "reason": kpi_tables.kind_label(fact.reason) if fact.reason else "",
    }


@require_GET
def behind(request: HttpRequest, name: str) -> HttpResponse:
    """What a number was computed from, newest first."""
    asked = Asked.by_request(request, known(name))
    narrowed = _narrowed(request)
    side = request.GET.get("counted", "")
    meant = {**asked.filters, **narrowed, "counted": side}
    facts = facts_behind(asked.viewer, name, asked.period, meant)
    page = lists.page_of(request, facts.select_related("site"), "at")
    tallied = count_behind(asked.viewer, name, asked.period, meant)
    number = facts[: _COUNTED_TO + 1].count() if tallied is None else tallied
    sides = _sides(name)
    context = {
        "section": "kpis",
        "heading": f"Behind: {DEFINITIONS[name].label}",
        "subtitle": ", ".join([asked.when, asked.where, *narrowed.values()]),
        "asked": asked,
        "definition": DEFINITIONS[name],
        "facts": [fact_row(fact) for fact in page.rows],
        "page": page,
        "total": min(number, _COUNTED_TO),
        "estimate": number > _COUNTED_TO,
        "sides": [
            {"label": label, "url": lists.address(request, counted=key), "active": key == side}
            for key, label in sides.items()
        ],
    }
    return replies.page(request, "orchestrator/kpi_behind.html", "orchestrator/_kpi_behind.html", context)


def _narrowed(request: HttpRequest) -> dict[str, str]:
    """One part of a chart or table, as the address names it."""
    narrowed = {key: request.GET[key] for key in ("day", "hour", "reason") if request.GET.get(key)}
    if "hour" in narrowed and number_of(narrowed["hour"]) is None:
        raise BadRequest("An hour is a number.")
    return narrowed


@require_http_methods(["GET", "POST"])
def target(request: HttpRequest, name: str) -> HttpResponse:
    """What a KPI should reach, for all sites."""
    require_everywhere(viewer_of(request), "kpis.edit")
    definition = DEFINITIONS[known(name)]
    now = figures.targets()[name]
    form = TargetForm(request.POST if "value" in request.POST else None, definition=definition, initial={"value": now})
    if form.is_valid():
        try:
            set_to = kpi_targets.set_target(name=name, **form.cleaned_data)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            said = words.written(set_to.value, definition.unit)
            return replies.done(request, f"The target is {said} now.", to=f"/kpis/{name}/")
    return replies.confirm(
        request,
        form,
        heading=f"Target of {definition.label}",
        submit="Set the target",
        back=f"/kpis/{name}/",
        sentence=f"Now {words.written(now, definition.unit)}, for all sites. Past days are judged by the new one too.",
    )
