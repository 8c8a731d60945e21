"""Orders: the list, its search, and one order with its procedures and steps."""

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_http_methods

from orchestrator import selectors
from orchestrator.audit import record_access
from orchestrator.models import ImagingServiceRequest as Order
from orchestrator.models import WorkflowEvent
from orchestrator.permissions import Viewer, can, require
from orchestrator.states import OrderStatus

from . import events, lists, recent, replies, saved, searches, viewer_of

_EVENTS = 100


def narrowed(queryset: QuerySet[Order], asked: QueryDict, site: str) -> QuerySet[Order]:
    """The orders that the filters of an address leave."""
    if asked.get("status", "") in OrderStatus.values:
        queryset = queryset.filter(status=asked["status"])
    key = selectors.number_of(site)
    return queryset if key is None else queryset.filter(site_id=key)


def matching(viewer: Viewer, asked: QueryDict) -> QuerySet[Order]:
    """The orders that the list shows under an address with these filters."""
    return narrowed(selectors.orders(viewer), asked, asked.get("site", ""))


LIST = saved.ListPage("/orders/", "orders.view", matching)


@require_http_methods(["GET", "POST"])
def order_list(request: HttpRequest) -> HttpResponse:
    """Orders, the newest first. A POST is a search."""
    viewer = viewer_of(request)
    require(viewer, "orders.view")
    if request.method == "POST":
        return searches.remember(request, "/orders/")
    if begin := saved.default_of(request, "orders"):
        return begin
    text, site, status = searches.text_of(request), lists.site_filter(request), request.GET.get("status", "")
    queryset = narrowed(selectors.order_rows(selectors.orders(viewer, text)), request.GET, site)
    found = lists.page_of(
        request, queryset, "created_at", among=narrowed(selectors.orders(viewer), request.GET, site), is_live=True
    )
    shown = lists.live(request, found, selectors.order_rows(selectors.orders(viewer)))
    context = {
        "section": "orders",
        "heading": "Orders",
        "found": found,
        **shown,
        "text": text,
        "groups": [lists.links(request, "status", "Status", OrderStatus.choices)],
        "views": saved.tabs(request, "orders"),
        "clear": "/orders/?site=all" if text or site or status else "",
    }
    version = (request.GET.get("after"), shown["fresh"], *(
        (order.pk, order.status, order.patient_id) for order in shown["rows"]
    ))  # fmt: skip
    return replies.page(
        request, "orchestrator/orders.html", "orchestrator/_orders.html", context, version=version,
        minute=lists.minute(),
        looked=replies.Look("orders.view", "order", len(shown["rows"])),
    )  # fmt: skip


@require_GET
def order_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One order: who asked for what, its steps on the worklist, its images, and what happened."""
    viewer = viewer_of(request)
    require(viewer, "orders.view")
    order = get_object_or_404(
        selectors.order_rows(selectors.orders(viewer)).select_related("visit", "interface", "accession_issuer"), pk=pk
    )
    record_access(viewer, "orders.view", "order", subject_id=str(pk), address=request.META.get("REMOTE_ADDR"))
    recent.remember(request, "order", pk)
    happened = list(WorkflowEvent.objects.filter(order_id=pk).order_by("at", "pk")[:_EVENTS])
    matched = selectors.studies(viewer).filter(claims__order=order).distinct() if can(viewer, "studies.view") else []
    context = {
        "section": "orders",
        "order": order,
        "studies": list(matched),
        "inbound": list(order.messages.order_by("-received_at")[:20])
        if can(viewer, "messages.view", order.site_id)
        else [],
        "may_see_patient": can(viewer, "patients.view", order.site_id),
        "moments": events.moments(happened),
        "log": [events.entry(event, rail=True) for event in happened],
    }
    return replies.page(request, "orchestrator/order.html", "orchestrator/_order.html", context)
