"""Many cases at once: assign, hand back, snooze, dismiss."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from django import forms
from django.db import transaction
from django.db.models import Count, Max, QuerySet, Value
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from orchestrator.models import ExceptionCase, Job, User, WorkflowEvent
from orchestrator.permissions import require, visible_to
from orchestrator.selectors import cases
from orchestrator.services import exceptions
from orchestrator.services.bulk import MOST_ROWS
from orchestrator.views import bulk, lists, replies, viewer_of
from reconciliation.forms import AssignForm, SnoozeForm
from reconciliation.services.bulk import Standing, given_to, went_on, why_left

from . import queue

_ADDRESS = "/exceptions/"
_JOB = "reconciliation.services.bulk.settle"
NOUN = ("exception", "exceptions")
ACTS: Mapping[str, bulk.Act] = {
    "assign": bulk.Act(
        "Assign", "user", "gets an owner, also when it sleeps.", "get an owner, also those that sleep.",
        undo="hand-back",
    ),
    "hand-back": bulk.Act(
        "Hand back", "undo", "waits for anybody again; its due time stands.",
        "wait for anybody again; their due times stand.",
    ),
    "snooze": bulk.Act(
        "Snooze", "clock", "becomes yours, sleeps, and comes back by itself.",
        "become yours, sleep, and come back by themselves.", SnoozeForm, undo="hand-back",
    ),
    "dismiss": bulk.Act(
        "Dismiss", "ban", "is settled without doing anything. It cannot be undone.",
        "are settled without doing anything. It cannot be undone.", danger=True,
    ),
}  # fmt: skip
# What a job did.
_TAKE_BACK = ACTS["hand-back"]._replace(
    one="is as it was before, with whom it was.", several="are as they were before, with whom they were."
)


@require_POST
def bulk_act(request: HttpRequest, act: str) -> HttpResponse:
    """Ask, with what it would do to how many; then start it."""
    viewer = viewer_of(request)
    require(viewer, "exceptions.resolve")
    if act not in ACTS:
        raise Http404
    selection = bulk.selection_of(request)
    job = selection.job_of(request, _JOB)
    asked = _TAKE_BACK if job and act == "hand-back" else ACTS[act]
    rows = selection.of(cases(viewer, "all"), lambda query: queue.matching(viewer, query), job)
    rows = visible_to(rows, viewer, "exceptions.resolve").order_by()
    form_of = partial(AssignForm, viewer=viewer) if act == "assign" else asked.form
    form = bulk.carrying(form_of(request.POST if "reason" in request.POST else None), selection)
    form.initial["to"] = viewer.user_id
    back = lists.back_to(_ADDRESS, selection.query)
    undone = job if act == "hand-back" else None
    since = went_on(undone) if undone else Value(False)
    groups = rows.annotate(since=since).values_list("status", "owner_id", "kind", "since")
    to = given_to(undone)
    shown = bulk.preview(
        rows,
        lambda: (((Standing(*standing), since), number, newest) for *standing, since, number, newest in groups.annotate(
            number=Count("*"), newest=Max("pk")
        )),
        lambda seen: why_left(act, seen[0], user_id=viewer.user_id, to_id=to) or ("changed since" if seen[1] else ""),
    )  # fmt: skip
    return bulk.answer(
        request, asked, selection, form, shown, noun=NOUN, section="exceptions", back=back,
        also="What changes before its turn is left as it is, and said so.",
        start=lambda: _start(request, act, form, rows, back, job),
    )  # fmt: skip


def _start(
    request: HttpRequest, act: str, form: forms.Form, rows: QuerySet[ExceptionCase], back: str, undone: Job | None
) -> HttpResponse:
    frozen = list(rows.order_by("due_at", "pk").values_list("pk", "status", "owner_id", "kind")[:MOST_ROWS])
    asked = ACTS[act]
    parameters: dict[str, Any] = {
        "act": act, "reason": form.cleaned_data["reason"], "back": back, "row_url": "case", "row_name": "EX-",
    }  # fmt: skip
    to = ""
    if isinstance(form, AssignForm):
        parameters["to"], to = form.cleaned_data["to"], f" to {form.name()}"
    if isinstance(form, SnoozeForm):
        parameters["until"] = form.until().isoformat()
    if undone is not None and act == "hand-back":
        parameters["undoes"] = undone.pk
    if asked.undo:
        parameters["undo"] = {"url": f"{_ADDRESS}bulk/{asked.undo}/", "label": "Hand them back…"}
    return bulk.started(
        request, _JOB, title=f"{asked.label} {bulk.numbered(len(frozen), NOUN)}{to}", parameters=parameters,
        rows=[(key, Standing(status, owner, kind).seen()) for key, status, owner, kind in frozen],
    )  # fmt: skip


@transaction.atomic
def _claim(rows: Iterable[ExceptionCase], user: User) -> tuple[list[int], list[str]]:
    """What made some of them the user's (the ids of those events), and why others are not."""
    claimed, refused = [], []
    for case in rows:
        try:
            if move := exceptions.claim_case(case.pk, user=user):
                claimed.append(move.pk)
            else:
                refused.append(f"{case} is yours already.")
        except (exceptions.CaseTaken, exceptions.CaseClosed) as refusal:
            refused.append(str(refusal))
    return claimed, refused


@require_POST
def claim_many(request: HttpRequest) -> HttpResponse:
    """Assign the ticked cases to who asks, at once; those that somebody else has stay where they are, and it is said.

    All that match a filter are asked for first, like every other act on many.
    """
    viewer = viewer_of(request)
    require(viewer, "exceptions.resolve")
    selection = bulk.selection_of(request)
    if selection.everything:
        return bulk_act(request, "assign")
    picked = cases(viewer, "open").filter(pk__in=selection.keys)
    rows = visible_to(picked, viewer, "exceptions.resolve").order_by("due_at", "pk")
    claimed, refused = _claim(rows, User.objects.get(pk=viewer.user_id))
    if left := len(set(selection.keys)) - len(rows):
        refused.append(f"{left} settled, asleep or of a site where you may not.")
    words = f"{len(claimed)} assigned to you." if claimed else "Nothing was assigned."
    message = " ".join([words, *refused[:3]] + ([f"{len(refused) - 3} more were refused."] if len(refused) > 3 else []))
    undo = f"{_ADDRESS}hand-back/?moves={','.join(map(str, claimed))}" if claimed else ""
    return replies.done(
        request, message, to=f"{_ADDRESS}?view=mine" if claimed else _ADDRESS, undo_url=undo, stay=True,
        colour="good" if claimed and not refused else "wait",
    )  # fmt: skip


@require_POST
def hand_back_picked(request: HttpRequest) -> HttpResponse:
    """The undo of a claim of a few: each as it was before. `?moves=` names the events that made them somebody's."""
    viewer = viewer_of(request)
    require(viewer, "exceptions.resolve")
    user = User.objects.get(pk=viewer.user_id)
    number, refused = 0, 0
    moves = lists.numbers_of(request.GET.get("moves", "").split(","))
    claims = WorkflowEvent.objects.filter(pk__in=moves, name="case.claimed").values_list("subject_id", "pk")
    mine = visible_to(cases(viewer, "mine"), viewer, "exceptions.resolve")
    for key, move in claims.filter(subject_id__in=mine.order_by().values("pk")):
        try:
            exceptions.take_back(key, move_id=move, user=user, reason="taken back at once")
            number += 1
        except (exceptions.CaseTaken, exceptions.CaseClosed):
            refused += 1
    said = f"{number} back as before." if number else "Nothing was changed: none of them is yours any more."
    also = f" {refused} changed meanwhile." if refused else ""
    return replies.done(request, said + also, to=_ADDRESS, colour="good" if number else "wait", stay=True)
