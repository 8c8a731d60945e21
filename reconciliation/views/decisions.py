"""Match, reject, undo: what a person decides about held images. Each is previewed, reasoned, and written once."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_http_methods

from orchestrator.forms import ReasonForm
from orchestrator.models import ExceptionCase, ImagingServiceRequest
from orchestrator.permissions import visible_to
from orchestrator.selectors import cases
from orchestrator.views import replies, viewer_of
from reconciliation.forms import MatchForm, RejectForm
from reconciliation.services import decisions

from . import candidates
from .actions import address, attempt, settle


def _onward(request: HttpRequest, case: ExceptionCase) -> str:
    """The next case that waits, or the queue when none does."""
    following = cases(viewer_of(request)).exclude(pk=case.pk).filter(owner=None).order_by("due_at", "pk").first()
    return address(following) if following else "/exceptions/"


@require_http_methods(["GET", "POST"])
def match(request: HttpRequest, pk: int, order_id: int) -> HttpResponse:
    """These images belong to this order."""
    case, user = settle(request, pk)
    orders = visible_to(ImagingServiceRequest.objects.select_related("patient"), viewer_of(request), "exceptions.view")
    order = get_object_or_404(orders, pk=order_id)
    changes = candidates.changes(case, order) if case.claim_id else []
    form = MatchForm(request.POST or None, changes=changes)
    if form.is_valid():
        return attempt(
            request,
            case,
            lambda: decisions.match(
                case_id=pk,
                order_id=order_id,
                user=user,
                reason=form.cleaned_data["reason"],
                remember=form.cleaned_data["remember"],
                sides=form.sides(),
            ),
            f"{case} is matched to {order.accession_number or 'the order'}.",
            to=_onward(request, case),
            undo_url=address(case, "undo"),
        )
    return replies.confirm(
        request, form, heading=f"Match {case} to {order.accession_number or 'this order'}?", submit="Match",
        icon="link", back=address(case), changes=changes, follows=candidates.FOLLOWS,
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def reject(request: HttpRequest, pk: int) -> HttpResponse:
    """These images belong nowhere."""
    case, user = settle(request, pk)
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
        back=address(case), sentence="They stay here as received and go nowhere.",
        follows=[{"icon": "undo", "text": "It can be taken back."}],
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def undo(request: HttpRequest, pk: int) -> HttpResponse:
    """Take the decision back."""
    case, user = settle(request, pk)
    form = ReasonForm(request.POST or None)
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
