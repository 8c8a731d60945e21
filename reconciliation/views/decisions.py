"""Match, reject, undo: what a person decides about held images. Each is previewed, reasoned, and written once."""

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_http_methods

from orchestrator.forms import ReasonForm
from orchestrator.models import Decision, ExceptionCase, ImagingServiceRequest, User
from orchestrator.permissions import visible_to
from orchestrator.selectors import cases
from orchestrator.services.exceptions import CaseClosed
from orchestrator.states import CASE_OPEN
from orchestrator.views import viewer_of
from reconciliation.forms import MatchForm, RejectForm, SidesForm
from reconciliation.services import decisions
from reconciliation.services.reconcile import HELD_KINDS

from . import candidates
from .actions import address, ask, attempt, refused, settle, undone


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
    viewer = viewer_of(request)
    orders = visible_to(ImagingServiceRequest.objects.select_related("patient"), viewer, "exceptions.view")
    order = get_object_or_404(orders, pk=order_id)
    if (refusal := _undecidable(request, case)) is not None:
        return refusal
    changes = candidates.changes(case, order)
    form, sides = MatchForm(request.POST or None), SidesForm(request.POST or None, changes=changes)
    if form.is_bound and not sides.is_valid():
        form.add_error(None, "Choose for each attribute whose value leaves.")
    named = order.accession_number or "the order"
    return ask(
        request, case, form,
        lambda: decisions.match(case_id=pk, order_id=order_id, user=user, sides=sides.sides(), **form.cleaned_data),
        f"{case} is matched to {named}.", shown=[changes], to=lambda: _onward(request, case),
        undo_url=lambda: _take_back(case, user),
        done_before=lambda: _own(case, user, Decision.Kind.MATCH, order=order_id),
        heading=f"Match {case} to {named}?", submit="Match", icon="link",
        follows=candidates.follows(viewer, case, order),
        preview_template="reconciliation/_sides.html" if changes else "", context={"sides": sides},
    )  # fmt: skip


def _take_back(case: ExceptionCase, user: User) -> str:
    """The Undo of this person's decision, and of none that comes after it."""
    decision = case.decisions.filter(undone_at=None, by=user).first()
    return f"{address(case, 'undo')}?decision={decision.pk}" if decision else ""


def _own(case: ExceptionCase, user: User, kind: Decision.Kind, **parameters: object) -> bool:
    """Whether this person decided just this already."""
    decision = case.decisions.filter(undone_at=None, by=user, kind=kind).first()
    return decision is not None and parameters.items() <= decision.parameters.items()


@require_http_methods(["GET", "POST"])
def reject(request: HttpRequest, pk: int) -> HttpResponse:
    """These images belong nowhere."""
    case, user = settle(request, pk)
    if (refusal := _undecidable(request, case)) is not None:
        return refusal
    form = RejectForm(request.POST or None)
    return ask(
        request, case, form, lambda: decisions.reject(case_id=pk, user=user, **form.cleaned_data),
        f"{case} is rejected.", to=lambda: _onward(request, case), undo_url=lambda: _take_back(case, user),
        done_before=lambda: _own(case, user, Decision.Kind.REJECT, code=form.cleaned_data["code"]),
        heading=f"Reject the images of {case}?", submit="Reject", icon="ban", danger=True,
        sentence=_how_many(case), follows=[{"icon": "undo", "text": "It can be taken back."}],
    )  # fmt: skip


def _how_many(case: ExceptionCase) -> str:
    number = case.claim.number_of_instances if case.claim else 0
    return (
        f"{number} object{' stays' if number == 1 else 's stay'} here as received and go{'es' * (number == 1)} nowhere."
    )


@require_http_methods(["GET", "POST"])
def undo(request: HttpRequest, pk: int) -> HttpResponse:
    """Take the decision back. With `?decision=` it is the Undo beside the word that it was decided."""
    case, user = settle(request, pk)
    message = f"The decision of {case} is taken back; its images are held again."
    if (decision := undone(request, "decision")) is not None:
        reason = "taken back at once"
        return attempt(
            request, case,
            lambda: decisions.undo(case_id=pk, user=user, reason=reason, decision_id=decision), message,
        )  # fmt: skip
    form = ReasonForm(request.POST or None)
    follows = list(candidates.consequences(viewer_of(request), case.claim, None)) if case.claim else []
    return ask(
        request, case, form, lambda: decisions.undo(case_id=pk, user=user, **form.cleaned_data), message,
        heading=f"Take the decision of {case} back?", submit="Take it back", icon="undo",
        sentence="The images are held again.", follows=follows or _NOTHING_LEFT,
    )  # fmt: skip


_NOTHING_LEFT = ({"icon": "done", "text": "Nothing of it has left yet, and nothing will."},)
