"""Deliveries: the list, one with what became of each instance, and trying again or stopping it."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods

from orchestrator.forms import ReasonForm
from orchestrator.permissions import Viewer, can, require
from orchestrator.selectors import number_of
from orchestrator.states import DELIVERY_WAITING, DeliveryStatus, IllegalTransition
from orchestrator.views import events, lists, replies, saved, searches, viewer_of
from routing import selectors
from routing.datasets import ORIGINAL
from routing.models import DeliveredInstance, Delivery, Destination
from routing.services import bulk, deliver

_INSTANCES = 200
_WAITING = "waiting"
ACTIONS = [
    {"label": "Retry…", "url": "/deliveries/bulk/retry/", "key": "r", "dialog": True},
    {"label": "Cancel…", "url": "/deliveries/bulk/cancel/", "dialog": True},
]


@require_http_methods(["GET", "POST"])
def delivery_list(request: HttpRequest) -> HttpResponse:
    """Deliveries, the last made first. A POST is a search for their studies."""
    viewer = viewer_of(request)
    require(viewer, "deliveries.view")
    if request.method == "POST":
        return searches.remember(request, reverse("deliveries"))
    if begin := saved.default_of(request, "deliveries"):
        return begin
    text, site = searches.text_of(request), lists.site_filter(request)
    status, destination, study = (request.GET.get(name, "") for name in ("status", "destination", "study"))
    polled = bool(lists.shown_of(request))
    queryset = narrowed(selectors.uncounted(viewer, text), request.GET, site)
    found = lists.page_of(
        request, queryset if polled else selectors.with_counts(queryset), "created_at",
        among=narrowed(selectors.uncounted(viewer), request.GET, site), is_live=True,
    )  # fmt: skip
    shown = lists.live(request, found, selectors.deliveries(viewer) if polled else queryset)
    states = [(_WAITING, "All that wait"), *((state.value, state.label) for state in DeliveryStatus)]
    places = [(str(pk), name) for pk, name in Destination.objects.order_by("name").values_list("pk", "name")]
    context = {
        "section": "deliveries",
        "heading": "Deliveries",
        "found": found,
        **shown,
        "text": text,
        "groups": [
            lists.links(request, "status", "State", states),
            lists.links(request, "destination", "Destination", places),
        ],
        "chosen": ", ".join(filter(None, [dict(states).get(status), dict(places).get(destination)])),
        "clear": f"{reverse('deliveries')}?site=all" if text or site or status or destination or study else "",
        "may_see_studies": can(viewer, "studies.view"),
        "may_operate": can(viewer, "deliveries.operate"),
        "actions": ACTIONS,
        "views": saved.tabs(request, "deliveries"),
        "filter": lists.filter_of(request),
    }
    version = (request.GET.get("after"), shown["fresh"], [_state(each) for each in shown["rows"]])
    return replies.page(
        request, "routing/deliveries.html", "routing/_deliveries.html", context, version=version, minute=lists.minute(),
        looked=replies.Look("deliveries.view", "delivery", len(shown["rows"])),
    )  # fmt: skip


def narrowed(queryset: QuerySet[Delivery], asked: QueryDict, site: str) -> QuerySet[Delivery]:
    """The deliveries that the filters of an address leave."""
    status = asked.get("status", "")
    if status == _WAITING:
        queryset = queryset.filter(status__in=DELIVERY_WAITING)
    elif status in DeliveryStatus.values:
        queryset = queryset.filter(status=status)
    keys = (("destination_id", asked.get("destination", "")), ("study_id", asked.get("study", "")))
    for name, value in (*keys, ("site_id", site)):
        if (key := number_of(value)) is not None:
            queryset = queryset.filter(**{name: key})
    return queryset


def matching(viewer: Viewer, asked: QueryDict, text: str = "") -> QuerySet[Delivery]:
    """The deliveries that the list shows under an address with these filters."""
    return narrowed(selectors.uncounted(viewer, text), asked, asked.get("site", ""))


LIST = saved.ListPage("/deliveries/", "deliveries.view", matching)


def _state(delivery: Any) -> tuple[object, ...]:
    """What of a delivery changes while somebody looks."""
    return delivery.pk, delivery.status, delivery.attempts, delivery.sent, delivery.failed, delivery.next_attempt_at


@require_GET
def delivery_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One delivery: each instance's result, each try, and the proof that it is there."""
    viewer = viewer_of(request)
    require(viewer, "deliveries.view")
    delivery = get_object_or_404(selectors.deliveries(viewer).select_related("study__site", "destination__line"), pk=pk)
    instances = list(selectors.instances_of(delivery)[: _INSTANCES + 1])
    log = [events.entry(event) for event in selectors.events_of(delivery)]
    tries = list(delivery.tries.order_by("pk"))
    operate = can(viewer, "deliveries.operate", delivery.study.site_id)
    context = {
        "section": "deliveries",
        "delivery": delivery,
        "corrected": delivery.rendition != ORIGINAL,
        "doubtful": delivery.pk in selectors.doubtful([delivery]),
        "next_try": _next_try(delivery),
        "silent": delivery.status in DELIVERY_WAITING and delivery.destination.line.attempts > 0,
        "instances": [{"row": each, "answer": _answer(each)} for each in instances[:_INSTANCES]],
        "more": len(instances) > _INSTANCES,
        "tries": tries,
        "proofs": list(selectors.proofs(delivery.study, delivery.destination).filter(rendition=delivery.rendition)),
        "log": log,
        "cases": list(selectors.open_cases_about(viewer, delivery)),
        "may_retry": operate and bulk.may("retry", delivery.status),
        "may_cancel": operate and bulk.may("cancel", delivery.status),
        "may_see_studies": can(viewer, "studies.view", delivery.study.site_id),
    }
    place = delivery.destination
    version = (
        _state(delivery),
        len(tries),
        len(log),
        place.paused,
        place.line.attempts,
        context["doubtful"],
    )
    return replies.page(
        request, "routing/delivery.html", "routing/_delivery.html", context, version=version, minute=lists.minute(),
        looked=replies.Look("deliveries.view", "delivery", subject_id=str(pk)),
    )  # fmt: skip


def _next_try(delivery: Delivery) -> dt.datetime | None:
    """When it may be tried next; None when that is now, as soon as it has its turn."""
    line = delivery.destination.line
    times = [each for each in (delivery.next_attempt_at, line.next_attempt_at if line.attempts else None) if each]
    return max(times) if times and max(times) > timezone.now() else None


def _answer(row: DeliveredInstance) -> str:
    """The status of the C-STORE response as the standard writes it (PS3.7 C)."""
    return "" if row.dimse_status is None else f"{row.dimse_status:04X}H"


@require_http_methods(["GET", "POST"])
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    """From where it stopped, with fresh attempts. Sent without a reason it is the undo of a cancel."""
    delivery = _operated(request, pk)
    undoing = request.method == "POST" and "reason" not in request.POST
    form = ReasonForm({"reason": "taken back at once"} if undoing else request.POST or None)
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        return _attempt(request, delivery, lambda: deliver.retry(delivery, reason=reason), "is tried again.")
    missing = delivery.total - delivery.sent
    again, go = "again" if delivery.finished_at else "now", "goes" if missing == 1 else "go"
    return replies.confirm(
        request, form, context={"section": "deliveries"},
        heading=f"Try {delivery} {again}?", submit=f"Try {again}", icon="retry", back=_address(delivery),
        follows=[
            {"icon": "send", "text": f"{_of(missing, delivery.total)} {go} to {delivery.destination}."},
            {"icon": "check", "text": f"{_of(delivery.sent, delivery.total)} there already."},
        ],
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Send no more of it."""
    delivery = _operated(request, pk)
    form = ReasonForm(request.POST or None)
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        # To take back the cancel of what had failed would send it: that is a decision of its own.
        undo_url = "" if delivery.status == DeliveryStatus.FAILED else reverse("delivery-retry", args=[pk])
        return _attempt(
            request, delivery, lambda: deliver.cancel(delivery, reason=reason), "is canceled.", undo_url=undo_url
        )
    return replies.confirm(
        request, form, context={"section": "deliveries"},
        heading=f"Cancel {delivery}?", submit="Cancel the delivery", icon="ban", danger=True,
        back=_address(delivery),
        follows=[
            {"icon": "ban", "text": f"{delivery.destination} gets no more of it."},
            {"icon": "lock", "text": f"{_of(delivery.sent, delivery.total)} there, which stays there."},
            {"icon": "retry", "text": "It can be tried again later."},
        ],
    )  # fmt: skip


def _of(some: int, total: int) -> str:
    return f"{some:,} of {total:,} object{'s' * (total != 1)}"


def _operated(request: HttpRequest, pk: int) -> Any:
    """The delivery with its numbers; refused unless the viewer may operate those of its site."""
    viewer = viewer_of(request)
    require(viewer, "deliveries.operate")
    delivery = get_object_or_404(selectors.deliveries(viewer), pk=pk)
    require(viewer, "deliveries.operate", delivery.study.site_id)
    return delivery


def _attempt(
    request: HttpRequest, delivery: Delivery, write: Callable[[], None], done: str, *, undo_url: str = ""
) -> HttpResponse:
    """Write, and say so; when it is in another state by now, say that."""
    name = f"Delivery {delivery.pk}"
    try:
        write()
    except IllegalTransition as refusal:
        state = DeliveryStatus(refusal.state).label.lower()
        words = f"Nothing was changed: {name.lower()} is {state} by now."
        return replies.done(request, words, to=_address(delivery), colour="wait")
    return replies.done(request, f"{name} {done}", to=_address(delivery), undo_url=undo_url)


def _address(delivery: Delivery) -> str:
    return reverse("delivery", args=[delivery.pk])
