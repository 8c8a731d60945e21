"""Saved views: the tabs over a list, and saving, changing, sharing and deleting one.

A view is an address of its list: whoever gets the link sees the same filters, over the rows that they may see.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast
from zlib import crc32

from django.conf import settings
from django.core.cache import cache
from django.db.models import Q, QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.module_loading import import_string
from django.views.decorators.http import require_GET, require_http_methods

from orchestrator.forms import ViewForm
from orchestrator.models import DefaultView, SavedView, User
from orchestrator.permissions import Viewer, can, require
from orchestrator.services import views

from . import lists, replies, viewer_of

# A count of more says nothing more, and would read the whole table.
MOST_COUNTED = 1000
_FRESH = 60  # seconds that a count is shown before it is asked for again
_KEPT = 3600  # seconds that a count is shown at all, while others are asked for
_COUNTED_AT_ONCE = 5
_PASSING = ("after", "shown", "search")
_LONGEST = 500


class ListPage(NamedTuple):
    """A list that views can be saved of (settings.LISTS): where it is, who sees it, and its rows under a query."""

    url: str
    action: str
    matching: Callable[[Viewer, QueryDict], QuerySet[Any]]
    # Whether the list has views of its own, which stand before the saved ones.
    has_tabs: bool = False


def list_page(page: str) -> ListPage:
    """The list of this name. 404 when there is none."""
    if page not in settings.LISTS:
        raise Http404
    return cast("ListPage", import_string(settings.LISTS[page]))


def kept_of(query: QueryDict) -> str:
    """What of an address is saved: its filters and order, never what was searched for or which page is shown."""
    kept = query.copy()
    for passing in _PASSING:
        kept.pop(passing, None)
    return kept.urlencode()


def _same(query: str) -> frozenset[tuple[str, str]]:
    """Two addresses with the same of this show the same list."""
    pairs = QueryDict(query).items()
    usual = {("site", lists.EVERY_SITE), ("view", "open"), ("view", "all")}
    return frozenset((name, str(value)) for name, value in pairs if value and (name, value) not in usual)


def visible_views(viewer: Viewer, page: str) -> QuerySet[SavedView]:
    """One's own views and those that are shared."""
    return SavedView.objects.filter(Q(owner_id=viewer.user_id) | Q(shared=True), page=page)


def default_of(request: HttpRequest, page: str) -> HttpResponse | None:
    """Where a list that is opened without any filter begins, for this person; None: with all."""
    if request.GET or request.method != "GET" or replies.is_fragment(request):
        return None
    chosen = DefaultView.objects.filter(user_id=viewer_of(request).user_id, page=page).select_related("view").first()
    if chosen is None or not chosen.view.query:
        return None
    return HttpResponseRedirect(lists.back_to(request.path, QueryDict(chosen.view.query)))


def _key(viewer: Viewer, view: SavedView) -> str:
    return f"view-{viewer.user_id}-{view.pk}-{crc32(view.query.encode())}"


def _count(viewer: Viewer, listed: ListPage, view: SavedView) -> int:
    """How many rows the view shows this viewer, up to one more than MOST_COUNTED."""
    number = listed.matching(viewer, QueryDict(view.query)).order_by()[: MOST_COUNTED + 1].count()
    cache.set(_key(viewer, view), (number, time.time()), _KEPT)
    return number


def _counts(viewer: Viewer, listed: ListPage, found: Sequence[SavedView], *, anew: bool) -> dict[int, int]:
    """The known number of rows of each view; `anew`: those that were counted longest ago are, a few at a time."""
    known = cache.get_many([_key(viewer, view) for view in found])
    numbers = {view.pk: known[key][0] for view in found if (key := _key(viewer, view)) in known}
    if anew:
        at = {view.pk: known.get(_key(viewer, view), (0, 0.0))[1] for view in found}
        stale = [view for view in found if at[view.pk] < time.time() - _FRESH]
        for view in sorted(stale, key=lambda view: at[view.pk])[:_COUNTED_AT_ONCE]:
            numbers[view.pk] = _count(viewer, listed, view)
    return numbers


def tabs(request: HttpRequest, page: str, *, counted: bool = False) -> dict[str, Any]:
    """What `components/views.html` shows: the views with their last known counts, or (`counted`) with newer ones."""
    viewer, listed = viewer_of(request), list_page(page)
    query = lists.filter_of(request)
    here = _same(kept_of(QueryDict(query)))
    found = list(visible_views(viewer, page).select_related("owner").order_by("-shared", "name", "pk"))
    numbers = _counts(viewer, listed, found, anew=counted)
    rows = []
    for view in found:
        number = numbers.get(view.pk)
        rows.append(
            {
                "label": view.name,
                "url": lists.back_to(listed.url, QueryDict(view.query)),
                "active": _same(view.query) == here,
                "count": None if number is None else f"{min(number, MOST_COUNTED):,}{'+' * (number > MOST_COUNTED)}",
                "icon": "users" if view.shared else "",
                "title": f"Shared by {view.owner.get_full_name() or view.owner.username}" if view.shared else "Yours",
                "edit": reverse("view-edit", args=[page, view.pk]),
            }
        )
    active = next((row for row in rows if row["active"]), None)
    if rows and not listed.has_tabs:
        rows.insert(0, {"label": "All", "url": f"{listed.url}?view=all&site=all", "active": not here})
    save = "" if active or not here else f"{reverse('view-save', args=[page])}?{query}"
    return {
        "rows": rows, "active": active, "save": save, "poll": f"{reverse('views', args=[page])}?{query}",
        "etag": replies.etag_of(viewer_of(request), (rows, save)) if counted else "",
    }  # fmt: skip


@require_GET
def view_tabs(request: HttpRequest, page: str) -> HttpResponse:
    """The tabs with their counts, polled; the query is that of the list's own address."""
    require(viewer_of(request), list_page(page).action)
    shown = tabs(request, page, counted=True)
    part = "components/views.html"
    return replies.page(request, part, part, {"views": shown}, version=(shown["rows"], shown["save"]))


@require_http_methods(["GET", "POST"])
def save(request: HttpRequest, page: str) -> HttpResponse:
    """Keep the filters of the address under a name."""
    viewer, listed = viewer_of(request), list_page(page)
    require(viewer, listed.action)
    query, back = kept_of(request.GET), lists.back_to(listed.url, request.GET)
    if len(query) > _LONGEST:
        return replies.confirm(
            request, Form(), heading="Save this view", submit="Save", back=back, final=True,
            sentence="These are too many filters for one view. Take some away, and save it then.",
            context={"section": page},
        )  # fmt: skip
    form = ViewForm(request.POST or None, may_share=can(viewer, "views.share"))
    if form.is_valid():
        asked = form.cleaned_data
        try:
            user = User.objects.get(pk=viewer.user_id)
            view = views.save_view(owner=user, page=page, name=asked["name"], query=query, shared=asked["shared"])
        except views.NameTaken as taken:
            form.add_error("name", str(taken))
        else:
            if asked["default"]:
                views.set_default(user=user, page=page, view=view)
            to = lists.back_to(listed.url, QueryDict(query))
            return replies.done(request, f"View “{view.name}” is saved.", to=to)
    searched = {"icon": "lock", "text": "What you searched for is not saved: it may name a patient."}
    return replies.confirm(
        request, form, heading="Save this view", submit="Save", icon="plus", back=back,
        sentence="The filters and the order of the list, under a name. New rows that match come by themselves.",
        follows=[searched] if request.GET.get("search") else [], context={"section": page, "keep": "Do not save"},
    )  # fmt: skip


def _visible(request: HttpRequest, page: str, pk: int) -> tuple[SavedView, ListPage, bool]:
    """The view, and whether the viewer may change it: its owner may, and of shared ones who may share."""
    viewer, listed = viewer_of(request), list_page(page)
    require(viewer, listed.action)
    view = get_object_or_404(visible_views(viewer, page), pk=pk)
    return view, listed, view.owner_id == viewer.user_id or can(viewer, "views.share")


@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, page: str, pk: int) -> HttpResponse:
    """Rename, share, begin with it; or delete it. Who may only see a shared view may begin with it."""
    viewer = viewer_of(request)
    view, listed, may_change = _visible(request, page, pk)
    user = User.objects.get(pk=viewer.user_id)
    default = DefaultView.objects.filter(user=user, view=view).exists()
    start = {"name": view.name, "shared": view.shared, "default": default}
    posted = request.POST if request.method == "POST" else None
    form = ViewForm(posted, initial=start, may_share=can(viewer, "views.share"), may_change=may_change)
    back = lists.back_to(listed.url, QueryDict(view.query))
    if form.is_valid():
        asked = form.cleaned_data
        try:
            if may_change:
                views.change_view(view, name=asked["name"], shared=asked["shared"])
        except views.NameTaken as taken:
            form.add_error("name", str(taken))
        else:
            if asked["default"] or default:
                views.set_default(user=user, page=page, view=view if asked["default"] else None)
            return replies.done(request, f"View “{view.name}” is changed.", to=back)
    return replies.confirm(
        request, form, heading=f"View “{start['name']}”", submit="Save", icon="check", back=back,
        preview_template="components/view_delete.html" if may_change else "",
        context={"section": page, "delete": reverse("view-delete", args=[page, pk])},
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def delete(request: HttpRequest, page: str, pk: int) -> HttpResponse:
    """Take the view away; the rows stay as they are."""
    view, listed, may_change = _visible(request, page, pk)
    if not may_change:
        raise Http404
    if request.method == "POST":
        name = view.name
        views.delete_view(view)
        return replies.done(request, f"View “{name}” is deleted.", to=f"{listed.url}?view=all")
    also = "Everybody who uses it loses it." if view.shared else "Nobody else has it."
    return replies.confirm(
        request, Form(), heading=f"Delete the view “{view.name}”?", submit="Delete", icon="x", danger=True,
        back=lists.back_to(listed.url, QueryDict(view.query)), sentence=f"{also} The rows that it shows stay.",
        context={"section": page},
    )  # fmt: skip
