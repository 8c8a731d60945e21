"""The shell around every page: navigation with what waits for a person, the sites, the person's menu."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import SimpleLazyObject
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from orchestrator.models import ExceptionCase, Role, Site, User
from orchestrator.permissions import Viewer, can, visible_to
from orchestrator.selectors import MOST_COUNTED, NumberOf, bounded, number_of
from orchestrator.states import CASE_WAITING

from . import replies, viewer_of


class Entry(NamedTuple):
    """A page of the navigation: what the viewer must be allowed to, its key after `g`, and the cases it counts."""

    section: str
    label: str
    url: str
    icon: str
    key: str
    action: str
    kinds: frozenset[str] = frozenset()
    every_kind: bool = False


NAVIGATION: Mapping[str, tuple[Entry, ...]] = {
    "": (
        Entry("control-room", "Control room", "/", "room", "c", "control_room.view"),
        Entry("exceptions", "Exceptions", "/exceptions/", "inbox", "e", "exceptions.view", every_kind=True),
    ),
    "Work": (
        Entry("patients", "Patients", "/patients/", "users", "p", "patients.view"),
        Entry("orders", "Orders", "/orders/", "order", "o", "orders.view"),
        Entry("worklist", "Worklist", "/worklist/", "worklist", "w", "worklist.view"),
        Entry("studies", "Studies", "/studies/", "image", "s", "studies.view"),
    ),
    "Flow": (
        Entry("routing", "Routing", "/routing/", "route", "r", "routing.view", frozenset({"no_route", "rule_error"})),
        Entry(
            "deliveries", "Deliveries", "/deliveries/", "send", "d", "deliveries.view",
            frozenset({"delivery_failed", "already_delivered"}),
        ),
        Entry("destinations", "Destinations", "/destinations/", "get", "t", "destinations.view"),
        Entry(
            "interfaces", "Interfaces", "/interfaces/", "plug", "i", "interfaces.view", frozenset({"unknown_sender"})
        ),
        Entry(
            "messages", "Messages", "/messages/", "message", "m", "messages.view",
            frozenset({"hl7_quarantine", "hl7_rejected"}),
        ),
    ),
    "Oversight": (
        Entry("kpis", "KPIs", "/kpis/", "chart", "k", "kpis.view"),
        Entry("audit", "Audit", "/audit/", "audit", "a", "audit.view"),
        Entry("users", "Users", "/users/", "gear", "n", "users.view"),
    ),
}  # fmt: skip


def _waiting(viewer: Viewer) -> Mapping[str, int]:
    """Waiting cases that the viewer may see, for each section that counts some: one query, which counts no further than
    is told.
    """
    waiting = visible_to(ExceptionCase.objects.filter(status__in=CASE_WAITING), viewer, "exceptions.view").order_by()
    counted = {
        entry.section: NumberOf(
            (waiting if entry.every_kind else waiting.filter(kind__in=entry.kinds)).values("kind")[: MOST_COUNTED + 1]
        )
        for entries in NAVIGATION.values() for entry in entries if entry.every_kind or entry.kinds
    }  # fmt: skip
    numbers: Mapping[str, int] = User.objects.filter(pk=viewer.user_id).annotate(**counted).values(*counted).get()
    return numbers


def _of_kinds(entry: Entry, numbers: Mapping[str, int]) -> int:
    return sum(number for kind, number in numbers.items() if entry.every_kind or kind in entry.kinds)


def navigation(viewer: Viewer, by_kind: Mapping[str, int] | None = None) -> dict[str, Any]:
    """What the navigation shows this viewer: groups of entries, and an ETag that changes when any of it does.

    A page that has counted the waiting cases of each kind itself gives them, and itself has the result as `nav`.
    """
    counted = _waiting(viewer) if by_kind is None and can(viewer, "exceptions.view") else {}
    groups = []
    for label, entries in NAVIGATION.items():
        shown = [
            {
                "section": entry.section,
                "label": entry.label,
                "url": entry.url,
                "icon": entry.icon,
                "key": entry.key,
                "count": bounded(counted.get(entry.section, 0) if by_kind is None else _of_kinds(entry, by_kind)),
            }
            for entry in entries
            if can(viewer, entry.action)
        ]
        if shown:
            groups.append({"label": label, "entries": shown})
    return {"groups": groups, "etag": replies.etag_of(viewer, groups)}


def _about(request: HttpRequest, viewer: Viewer) -> dict[str, Any]:
    """The person's name and roles, and the sites they may choose from."""
    user = request.user
    name = user.get_full_name() or user.get_username() if isinstance(user, User) else ""
    roles = sorted({Role(role).label for roles in viewer.roles.values() for role in roles})
    sites = Site.objects.order_by("name")
    if None not in viewer.roles:
        sites = sites.filter(pk__in=[site for site in viewer.roles if site is not None])
    return {
        "name": name,
        "roles": roles,
        "sites": list(sites),
        "site_id": preferred_site(request),
        "may_jobs": can(viewer, "jobs.view"),
    }


def preferred_site(request: HttpRequest) -> int | None:
    """The site chosen in the top bar, which lists take as their filter until the address names another."""
    chosen = request.session.get("site")
    return chosen if isinstance(chosen, int) else None


def shell(request: HttpRequest) -> dict[str, Any]:
    """Context processor: `nav` and `shell`, read from the database only by pages that draw them."""
    viewer = getattr(request, "viewer", None)
    if not isinstance(viewer, Viewer) or not viewer.user_id:
        return {}
    return {
        "nav": SimpleLazyObject(lambda: navigation(viewer)),
        "shell": SimpleLazyObject(lambda: _about(request, viewer)),
    }


@require_GET
def counts(request: HttpRequest) -> HttpResponse:
    """The navigation's entries with their counts, polled; 304 while nothing changed."""
    nav = navigation(viewer_of(request))
    context = {"nav": nav, "section": request.GET.get("section", "")}
    part = "components/nav_entries.html"
    return replies.page(request, part, part, context, version=nav["groups"])


@require_POST
def switch_site(request: HttpRequest) -> HttpResponse:
    """Remember the site that lists start with; back to the page."""
    request.session["site"] = number_of(request.POST.get("site", ""))
    back = request.POST.get("next", "/")
    return HttpResponseRedirect(back if url_has_allowed_host_and_scheme(back, allowed_hosts=None) else "/")
