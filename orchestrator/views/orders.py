"""Orders: the list, its search, and one order with its procedures and steps."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_http_methods

from orchestrator import selectors
from orchestrator.audit import record_access
from orchestrator.models import WorkflowEvent
from orchestrator.permissions import can, require
from orchestrator.states import OrderStatus

from . import events, lists, replies, searches, viewer_of

_EVENTS = 100


@require_http_methods(["GET", "POST"])
def order_list(request: HttpRequest) -> HttpResponse:
    """Orders, the newest first. A POST is a search."""
    viewer = viewer_of(request)
    require(viewer, "orders.view")
    if request.method == "POST":
        return searches.remember(request, "/orders/")
    text, site, status = searches.text_of(request), lists.site_filter(request), request.GET.get("status", "")
    queryset = selectors.order_rows(selectors.orders(viewer, text))
    if status in OrderStatus.values:
        queryset = queryset.filter(status=status)
    if site:
        queryset = queryset.filter(site_id=int(site))
    found = lists.page_of(request, queryset, "created_at")
    record_access(
        viewer, "orders.view", "order", number_of_records=len(found.rows), address=request.META.get("REMOTE_ADDR")
    )
    choices = [
        {
            "label": state.label,
            "url": lists.address(request, status="" if state.value == status else state.value),
            "active": state.value == status,
        }
        for state in OrderStatus
    ]
    context = {
        "section": "orders",
        "heading": "Orders",
        "found": found,
        "text": text,
        "groups": [{"id": "status", "label": "Status", "choices": choices}],
        "clear": "/orders/?site=all" if text or site or status else "",
    }
    return replies.page(request, "orchestrator/orders.html", "orchestrator/_orders.html", context)


@require_GET
def order_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One order: who asked for what, its steps on the worklist, its images, and what happened."""
    viewer = viewer_of(request)
    require(viewer, "orders.view")
    order = get_object_or_404(
        selectors.order_rows(selectors.orders(viewer)).select_related("visit", "interface", "accession_issuer"), pk=pk
    )
    record_access(viewer, "orders.view", "order", subject_id=str(pk), address=request.META.get("REMOTE_ADDR"))
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
