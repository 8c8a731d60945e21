"""Studies: the list, its search, and one study with all that happened to it."""

from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.utils.module_loading import import_string
from django.views.decorators.http import require_GET, require_http_methods

from orchestrator import selectors
from orchestrator.audit import record_access
from orchestrator.models import Instance, Study
from orchestrator.permissions import Viewer, can, require
from orchestrator.states import Custody, Identity
from orchestrator.templatetags.drawings import Moment

from . import events, lists, recent, replies, saved, searches, viewer_of

_INSTANCES = 200


def _filters(request: HttpRequest) -> list[dict[str, Any]]:
    """Links that narrow the list by identity and custody."""
    # What is missing is a case of its own.
    custodies = [(state.value, state.label) for state in Custody if state != Custody.INCOMPLETE]
    return [
        lists.links(request, "identity", "Identity", Identity.choices),
        lists.links(request, "custody", "Custody", custodies),
    ]


def narrowed(queryset: QuerySet[Study], asked: QueryDict, site: str) -> QuerySet[Study]:
    """The studies that the filters of an address leave."""
    for name, states in (("identity", Identity), ("custody", Custody)):
        if asked.get(name, "") in states.values:
            queryset = queryset.filter(**{name: asked[name]})
    key = selectors.number_of(site)
    return queryset if key is None else queryset.filter(site_id=key)


def matching(viewer: Viewer, asked: QueryDict) -> QuerySet[Study]:
    """The studies that the list shows under an address with these filters."""
    return narrowed(selectors.studies(viewer), asked, asked.get("site", ""))


LIST = saved.ListPage("/studies/", "studies.view", matching)


@require_http_methods(["GET", "POST"])
def study_list(request: HttpRequest) -> HttpResponse:
    """Studies, the last received first. A POST is a search."""
    viewer = viewer_of(request)
    require(viewer, "studies.view")
    if request.method == "POST":
        return searches.remember(request, "/studies/")
    if begin := saved.default_of(request, "studies"):
        return begin
    text, site = searches.text_of(request), lists.site_filter(request)
    queryset = narrowed(selectors.study_rows(selectors.studies(viewer, text)), request.GET, site)
    found = lists.page_of(
        request,
        queryset,
        "last_received_at",
        among=narrowed(selectors.studies(viewer), request.GET, site),
        is_live=True,
    )
    chosen = any(request.GET.get(name) for name in ("identity", "custody", "search"))
    shown = lists.live(request, found, selectors.study_rows(selectors.studies(viewer)))
    context = {
        "section": "studies",
        "heading": "Studies",
        "found": found,
        **shown,
        "text": text,
        "groups": _filters(request),
        "views": saved.tabs(request, "studies"),
        "clear": "/studies/?site=all" if chosen or site else "",
    }
    version = (request.GET.get("after"), shown["fresh"], *(
        (study.pk, study.identity, study.custody, study.number_of_instances) for study in shown["rows"]
    ))  # fmt: skip
    return replies.page(
        request, "orchestrator/studies.html", "orchestrator/_studies.html", context, version=version,
        minute=lists.minute(),
        looked=replies.Look("studies.view", "study", len(shown["rows"])),
    )  # fmt: skip


def find_study(viewer: Viewer, key: str) -> Study:
    """The study with this id of ours, or Study Instance UID; 404 when the viewer may not see it."""
    by_key = Q(pk=int(key)) if key.isdecimal() and len(key) < 19 else Q(study_instance_uid=key)
    return get_object_or_404(selectors.study_rows(selectors.studies(viewer)), by_key)


def facts(viewer: Viewer, study: Study) -> list[dict[str, Any]]:
    """What the apps above know about the study: `{heading, sub, template, …}` each, drawn by their own templates."""
    found: list[dict[str, Any]] = []
    for source in settings.FACT_SOURCES.values():
        try:
            found.extend(import_string(source)(viewer, study))
        except PermissionDenied:
            continue
    return found


@require_GET
def study_page(request: HttpRequest, key: str) -> HttpResponse:
    """One study over all rails: who, in which states, what happened, what is where."""
    viewer = viewer_of(request)
    require(viewer, "studies.view")
    study = find_study(viewer, key)
    claims = list(study.claims.select_related("order__patient", "step", "matched_patient"))
    happened = selectors.study_events(study)
    record_access(viewer, "studies.view", "study", subject_id=str(study.pk), address=request.META.get("REMOTE_ADDR"))
    recent.remember(request, "study", study.pk)
    dims = [
        {"label": "Identity", "machine": "study.identity", "value": study.identity},
        {"label": "Custody", "machine": "study.custody", "value": study.custody},
    ]
    steps = [claim.step for claim in claims if claim.step]
    if steps:
        dims.insert(0, {"label": "Step", "machine": "step", "value": steps[0].status})
    context = {
        "section": "studies",
        "study": study,
        "claims": claims,
        "dims": dims,
        "moments": [_arriving(study), *events.moments(happened)],
        "log": [events.entry(event, rail=True) for event in happened],
        "series": list(study.series.order_by("series_number", "pk")),
        "facts": facts(viewer, study),
        "cases": selectors.cases_of_study(viewer, study),
        "may_see_patient": can(viewer, "patients.view", study.site_id),
    }
    return replies.page(request, "orchestrator/study.html", "orchestrator/_study.html", context)


def _arriving(study: Study) -> Moment:
    """The images coming in, from the first to the last."""
    label = f"{study.number_of_instances:,} object{'s' * (study.number_of_instances != 1)} arriving"
    return Moment(study.first_received_at, "Images", label, "good", study.last_received_at)


@require_GET
def instances(request: HttpRequest, key: str, series: int) -> HttpResponse:
    """The objects of one series, as received."""
    viewer = viewer_of(request)
    require(viewer, "studies.view")
    study = find_study(viewer, key)
    chosen = get_object_or_404(study.series, pk=series)
    rows = list(Instance.objects.filter(series=chosen).select_related("differs_from").order_by("pk")[: _INSTANCES + 1])
    record_access(viewer, "studies.view", "series", subject_id=str(series), address=request.META.get("REMOTE_ADDR"))
    context = {
        "section": "studies",
        "heading": f"Series {chosen.series_number or 'without number'}",
        "study": study,
        "series": chosen,
        "rows": rows[:_INSTANCES],
        "more": len(rows) > _INSTANCES,
    }
    return replies.page(request, "orchestrator/instances.html", "orchestrator/_instances.html", context)
