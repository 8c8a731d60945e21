"""What a person does with a case. Each asks for a reason, says what follows, and is written once however often sent."""

from collections.abc import Callable, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from orchestrator.forms import ReasonForm
from orchestrator.models import ExceptionCase, User
from orchestrator.permissions import require
from orchestrator.services import exceptions
from orchestrator.states import IllegalTransition
from orchestrator.views import replies, viewer_of
from reconciliation.forms import SnoozeForm
from reconciliation.services import decisions
from reconciliation.services.reconcile import HELD_KINDS

from .case import find_case

Refusal = (
    exceptions.CaseTaken, exceptions.CaseClosed, IllegalTransition, decisions.AlreadyDecided, decisions.CannotDecide,
)  # fmt: skip


def address(case: ExceptionCase, action: str = "") -> str:
    return f"/exceptions/{case.pk}/{action + '/' if action else ''}"


def settle(request: HttpRequest, pk: int) -> tuple[ExceptionCase, User]:
    """The case and the person; refused unless they may settle cases of its site."""
    viewer = viewer_of(request)
    require(viewer, "exceptions.resolve")
    case = find_case(viewer, pk)
    require(viewer, "exceptions.resolve", case.site_id)
    return case, User.objects.get(pk=viewer.user_id)


def refused(request: HttpRequest, case: ExceptionCase, refusal: Exception) -> HttpResponse:
    """Somebody was faster: say who and what, and show the case as it is now."""
    return replies.done(request, f"Nothing was changed: {refusal}", to=address(case), colour="wait")


def attempt(
    request: HttpRequest,
    case: ExceptionCase,
    write: Callable[[], object],
    message: str,
    *,
    to: str = "",
    undo_url: str = "",
) -> HttpResponse:
    """Write, and say so; a refusal is said just as clearly."""
    try:
        write()
    except Refusal as refusal:
        return refused(request, case, refusal)
    return replies.done(request, message, to=to or address(case), undo_url=undo_url)


@require_POST
def claim(request: HttpRequest, pk: int) -> HttpResponse:
    """Make the case mine."""
    case, user = settle(request, pk)
    return attempt(
        request,
        case,
        lambda: exceptions.claim_case(pk, user=user),
        f"{case} is yours.",
        undo_url=address(case, "hand-back"),
    )


@require_http_methods(["GET", "POST"])
def hand_back(request: HttpRequest, pk: int) -> HttpResponse:
    """Back into the queue, for anybody. Sent without a reason it is the undo of a claim or a snooze."""
    case, user = settle(request, pk)
    undoing = request.method == "POST" and "reason" not in request.POST
    form = ReasonForm({"reason": "taken back at once"} if undoing else request.POST or None)
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        return attempt(
            request, case, lambda: exceptions.hand_back(pk, user=user, reason=reason), f"{case} is back in the queue."
        )
    return replies.confirm(
        request, form, heading=f"Hand {case} back?", submit="Hand back", icon="undo", back=address(case),
        sentence="It waits for anybody again; its due time stands.",
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def snooze(request: HttpRequest, pk: int) -> HttpResponse:
    """Out of sight for some hours."""
    case, user = settle(request, pk)
    form = SnoozeForm(request.POST or None)
    if form.is_valid():
        until, reason = form.until(), form.cleaned_data["reason"]
        return attempt(
            request,
            case,
            lambda: exceptions.snooze(pk, user=user, until=until, reason=reason),
            f"{case} sleeps until {timezone.localtime(until):%d %b %H:%M}.",
            to="/exceptions/",
            undo_url=address(case, "hand-back"),
        )
    return replies.confirm(
        request, form, heading=f"Snooze {case}?", submit="Snooze", icon="clock", back=address(case),
        sentence="It stays yours and comes back by itself. Its due time stands.",
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def escalate(request: HttpRequest, pk: int) -> HttpResponse:
    """Mark it as needing more than one person can decide."""
    case, user = settle(request, pk)
    form = ReasonForm(request.POST or None)
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        return attempt(
            request,
            case,
            lambda: exceptions.escalate(pk, user=user, to=None, reason=reason),
            f"{case} is escalated.",
            undo_url=address(case, "hand-back"),
        )
    return replies.confirm(
        request, form, heading=f"Escalate {case}?", submit="Escalate", icon="warn", back=address(case),
        sentence="It goes back to the queue without an owner, marked, for somebody who may decide more.",
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def dismiss(request: HttpRequest, pk: int) -> HttpResponse:
    """Settle without doing anything. Held images are matched or rejected instead."""
    case, user = settle(request, pk)
    if case.kind in HELD_KINDS:
        return refused(request, case, exceptions.CaseClosed("held images are matched or rejected, not dismissed."))
    form = ReasonForm(request.POST or None)
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        return attempt(
            request,
            case,
            lambda: exceptions.dismiss(pk, user=user, reason=reason),
            f"{case} is dismissed.",
            to="/exceptions/",
        )
    return replies.confirm(
        request, form, heading=f"Dismiss {case}?", submit="Dismiss", icon="ban", danger=True, back=address(case),
        sentence=case.summary, follows=_DISMISSED,
    )  # fmt: skip


_DISMISSED: Sequence[dict[str, Any]] = (
    {"icon": "inbox", "text": "What failed is kept as it came; nothing else is done with it."},
    {"icon": "retry", "text": "If it happens again, a new case opens."},
)
