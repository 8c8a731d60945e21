"""Match, reject, undo: what a person decides about held images. Each is previewed, reasoned, and written once."""

from typing import Any

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_http_methods

from orchestrator.forms import ReasonForm
from orchestrator.models import ExceptionCase, ImagingServiceRequest
from orchestrator.permissions import visible_to
from orchestrator.selectors import cases
from orchestrator.services.exceptions import CaseClosed
from orchestrator.states import CASE_OPEN
from orchestrator.views import replies, viewer_of
from reconciliation.forms import MatchForm, RejectForm, SidesForm
from reconciliation.services import decisions
from reconciliation.services.reconcile import HELD_KINDS

from . import candidates
from .actions import address, attempt, refused, settle


def _onward(request: HttpRequest, case: ExceptionCase) -> str:
    """The next case that waits for this person, or the queue when none does."""
    viewer = viewer_of(request)
    mine = visible_to(cases(viewer), viewer, "exceptions.resolve").filter(Q(owner=None) | Q(owner=viewer.user_id))
    following = mine.exclude(pk=case.pk).order_by("due_at", "pk").first()
    return address(following) if following else "/exceptions/"


def _undecidable(request: HttpRequest, case: ExceptionCase) -> HttpResponse | None:
    """Before anything is asked: the answer when there is nothing to decide, or no longer."""
    if case.kind not in HELD_KINDS:
        return refused(request, case, decisions.CannotDecide("this case is not about held images."))
    if request.method == "GET" and case.status not in CASE_OPEN:
        return refused(request, case, CaseClosed(f"{case} was {case.get_status_display().lower()} meanwhile."))
    return None


@require_http_methods(["GET", "POST"])
def match(request: HttpRequest, pk: int, order_id: int) -> HttpResponse:
    """These images belong to this order."""
    case, user = settle(request, pk)
    orders = visible_to(ImagingServiceRequest.objects.select_related("patient"), viewer_of(request), "exceptions.view")
    order = get_object_or_404(orders, pk=order_id)
    if (refusal := _undecidable(request, case)) is not None:
        return refusal
    changes = candidates.changes(case, order)
    form, sides = MatchForm(request.POST or None), SidesForm(request.POST or None, changes=changes)
    if form.is_valid() and sides.is_valid():
        return attempt(
            request,
            case,
            lambda: decisions.match(
                case_id=pk, order_id=order_id, user=user, sides=sides.sides(), **form.cleaned_data
            ),
            f"{case} is matched to {order.accession_number or 'the order'}.",
            to=_onward(request, case),
            undo_url=address(case, "undo"),
        )  # fmt: skip
    if sides.errors:
        form.add_error(None, "Choose for each attribute whose value leaves.")
    return replies.confirm(
        request, form, heading=f"Match {case} to {order.accession_number or 'this order'}?", submit="Match",
        icon="link", back=address(case), follows=candidates.follows(case, order, changed=bool(changes)),
        preview_template="reconciliation/_sides.html" if changes else "", context={"sides": sides},
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def reject(request: HttpRequest, pk: int) -> HttpResponse:
    """These images belong nowhere."""
    case, user = settle(request, pk)
    if (refusal := _undecidable(request, case)) is not None:
        return refusal
    form = RejectForm(request.POST or None)
    if form.is_valid():
        return attempt(
            request,
            case,
            lambda: decisions.reject(case_id=pk, user=user, **form.cleaned_data),
            f"{case} is rejected.",
            to=_onward(request, case),
            undo_url=address(case, "undo"),
        )
    return replies.confirm(
        request, form, heading=f"Reject the images of {case}?", submit="Reject", icon="ban", danger=True,
        back=address(case), sentence=_how_many(case), follows=[{"icon": "undo", "text": "It can be taken back."}],
    )  # fmt: skip


def _how_many(case: ExceptionCase) -> str:
    number = case.claim.number_of_instances if case.claim else 0
    return (
        f"{number} object{' stays' if number == 1 else 's stay'} here as received and go{'es' * (number == 1)} nowhere."
    )


@require_http_methods(["GET", "POST"])
def undo(request: HttpRequest, pk: int) -> HttpResponse:
    """Take the decision back. Sent without a reason it is the Undo beside the word that it was decided."""
    case, user = settle(request, pk)
    at_once = request.method == "POST" and "reason" not in request.POST
    posted: dict[str, Any] = {"reason": "taken back at once"} if at_once else request.POST
    form = ReasonForm(posted or None)
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        return attempt(
            request,
            case,
            lambda: decisions.undo(case_id=pk, user=user, reason=reason),
            f"The decision of {case} is taken back; its images are held again.",
        )
    return replies.confirm(
        request, form, heading=f"Take the decision of {case} back?", submit="Take it back", icon="undo",
        back=address(case), sentence="The images are held again.",
        follows=[
            {"icon": "stop", "text": "What was not sent yet will not be sent."},
            {"icon": "inbox", "text": "For each place that has the images already, a case opens."},
        ],
    )  # fmt: skip
