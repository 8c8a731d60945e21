"""Many deliveries at once: try again, cancel."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Count, Max, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.views.decorators.http import require_POST

from orchestrator.permissions import require, visible_to
from orchestrator.services.bulk import MOST_ROWS
from orchestrator.states import DeliveryStatus
from orchestrator.views import bulk, lists, searches, viewer_of
from routing.models import Delivery
from routing.services.bulk import seen_of, why_left

from . import deliveries

_ADDRESS = "/deliveries/"
JOB = "routing.services.bulk.operate"
NOUN = ("delivery", "deliveries")
ACTS: Mapping[str, bulk.Act] = {
    "retry": bulk.Act(
        "Retry", "retry", "is tried from where it stopped, with fresh attempts.",
        "are tried from where they stopped, with fresh attempts.",
    ),
    "cancel": bulk.Act(
        "Cancel", "ban", "is sent no further; what is there stays there.",
        "are sent no further; what is there stays there.", danger=True, undo="retry",
    ),
}  # fmt: skip


@require_POST
def bulk_act(request: HttpRequest, act: str) -> HttpResponse:
    """Ask, with what it would do to how many; then start it."""
    viewer = viewer_of(request)
    require(viewer, "deliveries.operate")
    if act not in ACTS:
        raise Http404
    selection, asked = bulk.selection_of(request), ACTS[act]

    def matching(query: QueryDict) -> QuerySet[Delivery]:
        text = searches.text_in(request, query)
        return deliveries.matching(viewer, query, text)

    mine = visible_to(Delivery.objects.all(), viewer, "deliveries.operate")
    job = selection.job_of(request, JOB)
    rows = visible_to(selection.of(mine, matching, job), viewer, "deliveries.operate")
    form = bulk.carrying(asked.form(request.POST if "reason" in request.POST else None), selection)
    back = lists.back_to(_ADDRESS, selection.query)
    groups = rows.order_by().values_list("status").annotate(number=Count("*"), newest=Max("pk"))
    shown = bulk.preview(rows, lambda: groups, lambda status: why_left(act, status))
    return bulk.answer(
        request, asked, selection, form, shown, noun=NOUN, section="deliveries", back=back,
        also="What ends before its turn is left as it is.",
        start=lambda: _start(request, act, form.cleaned_data["reason"], rows, back),
    )  # fmt: skip


def _start(request: HttpRequest, act: str, reason: str, rows: QuerySet[Delivery], back: str) -> HttpResponse:
    frozen = list(rows.order_by("pk").values_list("pk", "status")[:MOST_ROWS])
    parameters: dict[str, Any] = {
        "act": act, "reason": reason, "back": back, "row_url": "delivery", "row_name": "Delivery ",
    }  # fmt: skip
    undo = ACTS[act].undo
    # To take back the cancel of what had failed would send it: that is a decision of its own.
    if undo and not any(status == DeliveryStatus.FAILED for _, status in frozen):
        parameters["undo"] = {"url": f"{_ADDRESS}bulk/{undo}/", "label": "Try them again…"}
    return bulk.started(
        request, JOB, title=f"{ACTS[act].label} {bulk.numbered(len(frozen), NOUN)}", parameters=parameters,
        rows=[(key, seen_of(status)) for key, status in frozen],
    )  # fmt: skip
