"""What a person does with a case. Each asks for a reason, says what follows, and is written once however often sent."""

from collections.abc import Callable, Sequence
from typing import Any

from django.db import transaction
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from orchestrator.forms import ReasonForm
from orchestrator.models import ExceptionCase, User, WorkflowEvent
from orchestrator.permissions import require
from orchestrator.selectors import number_of
from orchestrator.services import exceptions
from orchestrator.states import CASE_OPEN, IllegalTransition
from orchestrator.views import replies, viewer_of
from reconciliation.forms import SnoozeForm
from reconciliation.services import decisions
from reconciliation.services.reconcile import HELD_KINDS

from . import seen
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


class Stale(Exception):
    """What the person saw has changed since; the text says how."""


def refused(request: HttpRequest, case: ExceptionCase, refusal: Exception) -> HttpResponse:
    """Somebody was faster: say who and what, and show the case as it is now."""
    return replies.done(request, f"Nothing was changed: {refusal}", to=address(case), colour="wait")


def _undo_of(case: ExceptionCase, move: WorkflowEvent | None) -> str:
    return f"{address(case, 'hand-back')}?move={move.pk}" if move else ""


def _take_back(case: ExceptionCase) -> str:
    """The Undo of what was done to the case just now, and of nothing that is done later."""
    return _undo_of(case, exceptions.last_move(case.pk))


def attempt(
    request: HttpRequest,
    case: ExceptionCase,
    write: Callable[[], object],
    message: str,
    *,
    undo_url: Callable[[Any], str] = lambda _: "",
) -> HttpResponse:
    """Write at once what needs no words, and say so; a refusal is said just as clearly.

    `undo_url` gets what `write` answers.
    """
    try:
        wrote = write()
    except Refusal as refusal:
        return refused(request, case, refusal)
    return replies.done(request, message, to=address(case), undo_url=undo_url(wrote))


def ask(
    request: HttpRequest,
    case: ExceptionCase,
    form: Form,
    write: Callable[[], object],
    message: str | Callable[[], str],
    *,
    valid: bool = True,
    shown: Sequence[object] = (),
    to: Callable[[], str] | None = None,
    undo_url: Callable[[], str] = lambda: "",
    done_before: Callable[[], bool] = lambda: False,
    **asked: Any,
) -> HttpResponse:
    """Ask, and write once what was answered, if all that was seen is still so (optimistic lock).

    Otherwise the form comes back with what was typed, what happened meanwhile, and what the answer would do now.
    `shown`: what the form shows beside the case's state. `done_before`: whether this person wrote just this already,
    by the first click of two.
    """
    conflict, final = "", False
    if form.is_valid() and valid:
        try:
            _write(case, request.POST.get("seen", ""), shown, write)
        except Stale as stale:
            conflict = f"Nothing was written yet: this case changed since you opened it. {stale}. Look again."
        except Refusal as refusal:
            conflict, final = f"Nothing was changed: {refusal}", True
        if not conflict or done_before():
            words = message if isinstance(message, str) else message()
            return replies.done(request, words, to=to() if to else address(case), undo_url=undo_url())
        case.refresh_from_db()
    return replies.confirm(
        request, form, back=address(case), conflict=conflict, final=final,
        context={"seen": seen.stamp(case, *shown), **asked.pop("context", {})}, **asked,
    )  # fmt: skip


@transaction.atomic
def _write(case: ExceptionCase, stamp: str, shown: Sequence[object], write: Callable[[], object]) -> None:
    """One transaction: nobody comes between the look and the write."""
    decisions.lock_study_of(case.pk)
    now = ExceptionCase.objects.select_for_update(of=("self",), no_key=True).get(pk=case.pk)
    if now.status in CASE_OPEN and (since := seen.news(now, stamp, *shown)):
        raise Stale(since)
    write()


def undone(request: HttpRequest, name: str) -> int | None:
    """What the Undo beside a word takes back: its address names it, and it brings no reason."""
    return number_of(request.GET.get(name, "")) if request.method == "POST" else None


@require_POST
def claim(request: HttpRequest, pk: int) -> HttpResponse:
    """Make the case mine."""
    case, user = settle(request, pk)
    return attempt(
        request,
        case,
        lambda: exceptions.claim_case(pk, user=user),
        f"{case} is yours.",
        undo_url=lambda move: _undo_of(case, move),
    )


@require_http_methods(["GET", "POST"])
def take_over(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a case mine that somebody else has: they see it in its history."""
    case, user = settle(request, pk)
    form = ReasonForm(request.POST or None)
    return ask(
        request, case, form, lambda: exceptions.take_over(pk, user=user, **form.cleaned_data), f"{case} is yours.",
        undo_url=lambda: _take_back(case), heading=f"Take {case} over?", submit="Take over", icon="user",
        sentence=f"{case.owner} has it. What they typed and did not send yet will be refused." if case.owner else "",
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def hand_back(request: HttpRequest, pk: int) -> HttpResponse:
    """Back into the queue, for anybody. With `?move=` it is the Undo of a claim, a snooze or an escalation."""
    case, user = settle(request, pk)
    if (move := undone(request, "move")) is not None:
        reason = "taken back at once"
        return attempt(
            request, case, lambda: exceptions.take_back(pk, move_id=move, user=user, reason=reason),
            f"What you did to {case} is taken back.",
        )  # fmt: skip
    form = ReasonForm(request.POST or None)
    return ask(
        request, case, form, lambda: exceptions.hand_back(pk, user=user, **form.cleaned_data),
        f"{case} is back in the queue.",
        heading=f"Hand {case} back?", submit="Hand back", icon="undo",
        sentence="It waits for anybody again; its due time stands.",
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def snooze(request: HttpRequest, pk: int) -> HttpResponse:
    """Out of sight for some hours."""
    case, user = settle(request, pk)
    form = SnoozeForm(request.POST or None)
    return ask(
        request, case, form,
        lambda: exceptions.snooze(pk, user=user, until=form.until(), reason=form.cleaned_data["reason"]),
        lambda: f"{case} sleeps until {timezone.localtime(form.until()):%d %b %H:%M}.",
        to=lambda: "/exceptions/", undo_url=lambda: _take_back(case),
        heading=f"Snooze {case}?", submit="Snooze", icon="clock",
        sentence="It stays yours and comes back by itself. Its due time stands.",
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def escalate(request: HttpRequest, pk: int) -> HttpResponse:
    """Mark it as needing more than one person can decide."""
    case, user = settle(request, pk)
    form = ReasonForm(request.POST or None)
    return ask(
        request, case, form, lambda: exceptions.escalate(pk, user=user, to=None, **form.cleaned_data),
        f"{case} is escalated.", undo_url=lambda: _take_back(case),
        heading=f"Escalate {case}?", submit="Escalate", icon="warn",
        sentence="It goes back to the queue without an owner, marked, for somebody who may decide more.",
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def dismiss(request: HttpRequest, pk: int) -> HttpResponse:
    """Settle without doing anything. Held images are matched or rejected instead."""
    case, user = settle(request, pk)
    if case.kind in HELD_KINDS:
        return refused(request, case, exceptions.CaseClosed("held images are matched or rejected, not dismissed."))
    form = ReasonForm(request.POST or None)
    return ask(
        request, case, form, lambda: exceptions.dismiss(pk, user=user, **form.cleaned_data), f"{case} is dismissed.",
        to=lambda: "/exceptions/", heading=f"Dismiss {case}?", submit="Dismiss", icon="ban", danger=True,
        sentence=case.summary, follows=_DISMISSED,
    )  # fmt: skip


_DISMISSED: Sequence[dict[str, Any]] = (
    {"icon": "inbox", "text": "What failed is kept as it came; nothing else is done with it."},
    {"icon": "retry", "text": "If it happens again, a new case opens."},
)
