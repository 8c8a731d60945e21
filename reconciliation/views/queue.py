"""The exceptions queue: what waits for a person, by when, and with whom."""

from collections import Counter
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils import timezone
from django.views.decorators.http import require_GET

from orchestrator.models import ExceptionCase, Site, User
from orchestrator.permissions import Viewer, can, require
from orchestrator.selectors import (
    CASE_VIEWS,
    NOBODY,
    cases,
    count_cases,
    filter_cases,
    number_of,
    queue_rows,
    values_of,
)
from orchestrator.services import exceptions
from orchestrator.states import CASE_OPEN, CASE_WAITING, CaseStatus
from orchestrator.templatetags.moments import relative
from orchestrator.views import lists, replies, saved, shell, viewer_of

_DUE = {"over": "Overdue", "hour": "Within 1 h", "day": "Within a day", "later": "Later"}
_DUE_LOOKS = {"over": ("bad", "clock"), "hour": ("wait", "clock"), "day": ("", ""), "later": ("", "")}
_ADDRESS = "/exceptions/"
ACTIONS = [
    {"label": "Assign to me", "url": f"{_ADDRESS}claim/", "key": "a", "dialog": True},
    {"label": "Assign…", "url": f"{_ADDRESS}bulk/assign/", "dialog": True},
    {"label": "Hand back…", "url": f"{_ADDRESS}bulk/hand-back/", "dialog": True},
    {"label": "Snooze…", "url": f"{_ADDRESS}bulk/snooze/", "key": "s", "dialog": True},
    {"label": "Dismiss…", "url": f"{_ADDRESS}bulk/dismiss/", "dialog": True},
]


def _facets(viewer: Viewer, counts: lists.Counted) -> list[lists.Facet]:
    """The filters, with the names of the sites and people that occur."""
    sites = {str(pk): name for pk, name in Site.objects.values_list("pk", "name")}
    owners = {key for row, _ in counts if (key := number_of(row["owner"])) is not None}
    people = {str(user.pk): user.get_full_name() or user.username for user in User.objects.filter(pk__in=owners)}
    people |= {NOBODY: "Unassigned", str(viewer.user_id): "Me"}
    return [
        lists.Facet(
            "due", "Due", _DUE.__getitem__, _DUE_LOOKS
        ),
        lists.Facet("kind", "Kind", kind_label),
        lists.Facet("owner", "Owner", lambda value: people.get(value, "Somebody else")),
        lists.Facet("site", "Site", lambda value: sites.get(value, "Unknown site")),
        lists.Facet("modality", "Modality", lambda value: "None" if value == NOBODY else value),
        lists.Facet("source", "Source", lambda value: "None" if value == NOBODY else value),
    ]  # fmt: skip


def kind_label(kind: str) -> str:
    """A kind of exception in words."""
    known = exceptions.case_kinds().get(kind)
    return known.label if known else kind


def _counts(viewer: Viewer, view: str) -> tuple[lists.Counted, lists.Counted]:
    """The cases that wait, counted once, and those of the view, which often are some of them."""
    waiting = count_cases(cases(viewer))
    owner = {"open": "", "mine": str(viewer.user_id), "unassigned": NOBODY}.get(view)
    if owner is None:
        return waiting, count_cases(cases(viewer, view))
    return waiting, lists.counted(waiting, {"owner": owner} if owner else {})


def _tabs(
    request: HttpRequest, viewer: Viewer, view: str, chosen: dict[str, str], waiting: lists.Counted
) -> list[dict[str, Any]]:
    """The views, with the number that waits in each of the first three."""
    rest = {name: value for name, value in chosen.items() if name not in ("owner",)}
    numbers: dict[str, int] = {"open": 0, "mine": 0, "unassigned": 0}
    for row, number in lists.counted(waiting, rest):
        numbers["open"] += number
        numbers["mine"] += number * (row["owner"] == str(viewer.user_id))
        numbers["unassigned"] += number * (row["owner"] == NOBODY)
    return [
        {
            "label": label,
            "url": lists.address(request, view=name, owner=""),
            "active": name == view,
            "count": numbers.get(name),
        }
        for name, label in CASE_VIEWS.items()
    ]


def _by_kind(waiting: lists.Counted) -> Counter[str]:
    numbers: Counter[str] = Counter()
    for row, number in waiting:
        numbers[row["kind"]] += number
    return numbers


def _row(case: ExceptionCase, viewer: Viewer) -> dict[str, Any]:
    """A case as the queue shows it: the patient as received, else as known."""
    patient, claim = case.patient, case.claim
    known = patient.identifiers.all() if patient else ()
    return {
        "case": case,
        "kind": kind_label(case.kind),
        "name": claim.patient_name if claim else patient.name if patient else "",
        "identifier": claim.patient_id if claim else known[0].value if known else "",
        "has_patient": bool(claim or patient),
        "mine": case.owner_id == viewer.user_id,
        "owner": (case.owner.get_full_name() or case.owner.username) if case.owner else "",
    }


def _last_settled(viewer: Viewer) -> str:
    """When and how the last case was settled, for an empty queue; empty when there never was one."""
    last = cases(viewer, "closed").order_by("-resolved_at").first()
    if last is None or last.resolved_at is None:
        return ""
    when = relative(last.resolved_at, timezone.now())
    return f"The last one, {last}, was {last.get_status_display().lower()} {when}."


def _left(case: ExceptionCase, view: str) -> bool:
    """Whether a row that is still on the screen no longer belongs to the view."""
    return {"closed": case.status in CASE_OPEN, "snoozed": case.status != CaseStatus.SNOOZED}.get(
        view, case.status not in CASE_WAITING
    )


def matching(viewer: Viewer, asked: QueryDict) -> QuerySet[ExceptionCase]:
    """The cases that the queue shows under an address with these filters."""
    view = asked.get("view", "")
    names = ("due", "kind", "owner", "site", "modality", "source")
    given = {name: asked.get(name, "") for name in names}
    chosen = {name: value for name, value in given.items() if value not in ("", lists.EVERY_SITE)}
    return filter_cases(cases(viewer, view if view in CASE_VIEWS else "open"), chosen)


LIST = saved.ListPage("/exceptions/", "exceptions.view", matching, has_tabs=True)


@require_GET
def queue(request: HttpRequest) -> HttpResponse:
    """The cases of one view and its filters, those due first."""
    viewer = viewer_of(request)
    require(viewer, "exceptions.view")
    if begin := saved.default_of(request, "exceptions"):
        return begin
    view = request.GET.get("view", "open")
    view = view if view in CASE_VIEWS else "open"
    base = cases(viewer, view)
    waiting, counts = _counts(viewer, view)
    facets = _facets(viewer, counts)
    chosen = lists.chosen_of(request, facets)
    total = sum(number for _, number in lists.counted(counts, chosen))
    shown = lists.shown_of(request)
    newest_first = view == "closed" or request.GET.get("sort") == "-due"
    column = "resolved_at" if view == "closed" else "due_at"
    found = lists.page_of(
        request, queue_rows(filter_cases(base, chosen)), column, ascending=not newest_first, is_live=True
    )
    # A poll answers with the rows that are on the screen, in their places: none jumps under the pointer.
    rows = lists.in_place(queue_rows(cases(viewer, "all")), shown) if shown else found.rows
    labels = {facet.name: facet.write for facet in facets}
    context = {
        "section": "exceptions",
        "heading": "Exceptions",
        "view": view,
        "tabs": _tabs(request, viewer, view, chosen, waiting),
        "groups": lists.facet_groups(request, facets, counts, chosen),
        "chosen": ", ".join(labels[name](each) for name, value in chosen.items() for each in values_of(name, value)),
        "clear": f"{_ADDRESS}?view={view}&site=all" if chosen else "",
        "total": total,
        "rows": [_row(case, viewer) for case in rows],
        "gone": {case.pk for case in rows if _left(case, view)},
        "found": found,
        "last": "" if rows or view != "open" else _last_settled(viewer),
        "fresh": lists.fresh(found.rows, shown),
        "sort_url": lists.address(request, sort="" if newest_first else "-due"),
        "direction": "descending" if newest_first else "ascending",
        "may_resolve": can(viewer, "exceptions.resolve"),
        "actions": ACTIONS,
        "views": saved.tabs(request, "exceptions"),
        "filter": lists.filter_of(request),
        "nav": shell.navigation(viewer, _by_kind(waiting)),
        "here": lists.here(request),
        "poll": lists.address_of_rows(request, rows),
    }
    version = (context["here"], total, context["fresh"], *(
        (case.pk, case.status, case.owner_id, case.summary, case.best_score) for case in rows
    ))  # fmt: skip
    return replies.page(
        request, "reconciliation/exceptions.html", "reconciliation/_exceptions.html", context, version=version,
        minute=lists.minute(),
        looked=replies.Look("exceptions.view", "case", len(rows)),
    )  # fmt: skip
