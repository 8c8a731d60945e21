"""Cases: opened in the failing transaction, owned by one person at a time, settled with a reason."""

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.module_loading import import_string

from orchestrator.models import ActorKind, ExceptionCase, Site, User, WorkflowEvent
from orchestrator.permissions import Viewer, can
from orchestrator.services.workflow import Subject, record, transition
from orchestrator.states import CASE_OPEN, CaseKind, CaseStatus


class CaseTaken(Exception):
    """Somebody else works on this case."""


class CaseClosed(Exception):
    """The case was settled meanwhile."""


@cache
def case_kinds() -> dict[str, CaseKind]:
    """All registered kinds (settings.CASE_KINDS)."""
    kinds: dict[str, CaseKind] = {}
    for name in settings.CASE_KINDS:
        kinds.update(import_string(name))
    return kinds


@transaction.atomic
def open_case(
    kind: str,
    *,
    about: Subject,
    reason_code: str,
    summary: str,
    site: Site,
    detail: dict[str, Any] | None = None,
    **links: Any,
) -> ExceptionCase:
    """Open a case about a row, or bring the open one of the same kind up to date. `links` are its columns.

    Two workers may open the same case at once: the unique constraint lets one in, and the other one's work goes on
    with that case.
    """
    subject: dict[str, Any] = {"kind": kind, "subject_type": about._meta.model_name, "subject_id": about.pk}
    columns = {"reason_code": reason_code, "summary": summary[:300], "detail": detail or {}, **links}
    if case := _bring_up_to_date(subject, columns):
        return case
    try:
        # A savepoint: what the failing transaction has to keep must outlive the refusal.
        with transaction.atomic():
            case = ExceptionCase.objects.create(site=site, due_at=due_at(kind), **subject, **columns)
    except IntegrityError:
        if case := _bring_up_to_date(subject, columns):
            return case
        raise
    # What the case is counted under, as it was then: the KPIs are computed from this alone.
    counted = {"kind": kind, "reason_code": reason_code, "modality": case.modality, "source": case.source}
    record("case.opened", case, to_state=case.status, detail=counted)
    return case


def due_at(kind: str) -> datetime:
    """When a person should have looked at a case of this kind that opens, or opens again, now."""
    return timezone.now() + timedelta(minutes=case_kinds()[kind].due_minutes)


def _bring_up_to_date(subject: dict[str, Any], columns: dict[str, Any]) -> ExceptionCase | None:
    """The open case with these columns, locked: one that a person settles meanwhile counts as closed."""
    waiting = ExceptionCase.objects.select_for_update(of=("self",), no_key=True).filter(status__in=CASE_OPEN)
    case = waiting.filter(**subject).first()
    if case is None:
        return None
    changed = [name for name, value in columns.items() if getattr(case, name) != value]
    for name in changed:
        setattr(case, name, columns[name])
    if changed:
        case.save(update_fields=changed)
        record("case.updated", case, detail={"kind": case.kind, "reason_code": case.reason_code})
    return case


def lock_open(case_id: int, *, user: User | None = None) -> ExceptionCase:
    """The case, locked for this transaction. Raises CaseClosed, or CaseTaken when another person owns it."""
    case = ExceptionCase.objects.select_for_update(of=("self",), no_key=True).get(pk=case_id)
    if case.status not in CASE_OPEN:
        raise CaseClosed(f"{case} was {case.get_status_display().lower()} meanwhile.")
    if user and case.status == CaseStatus.CLAIMED and case.owner_id != user.pk:
        raise CaseTaken(f"{case} is with {case.owner}.")
    return case


_UNDONE = ("case.claimed", "case.snoozed", "case.escalated")
# What leads back to each state from one of those.
_RETURNS = {
    CaseStatus.OPEN: "case.handed_back",
    CaseStatus.CLAIMED: "case.claimed",
    CaseStatus.SNOOZED: "case.snoozed",
    CaseStatus.ESCALATED: "case.unclaimed",
}


def _move(
    case: ExceptionCase,
    event: str,
    reason: str,
    *,
    owner: User | None,
    snoozed_until: datetime | None = None,
    **detail: Any,
) -> WorkflowEvent:
    """The event keeps how the case stood, for `take_back`."""
    until = case.snoozed_until.isoformat() if case.snoozed_until else None
    kept = {"owner": case.owner_id, "snoozed_until": until, **detail}
    return transition(case, event, reason=reason, detail=kept, owner=owner, snoozed_until=snoozed_until)


@transaction.atomic
def claim_case(case_id: int, *, user: User, reason: str = "") -> WorkflowEvent | None:
    """Make it `user`'s, by the event that is answered; None when it was theirs already.

    From now on automation leaves it alone (promise 7). Raises CaseTaken, CaseClosed.
    """
    case = lock_open(case_id, user=user)
    if case.status == CaseStatus.CLAIMED and case.owner_id == user.pk:
        return None
    return _move(case, "case.claimed", reason, owner=user)


@transaction.atomic
def assign(case_id: int, *, user: User, to: User, reason: str) -> ExceptionCase:
    """Give it to `to`. Raises CaseTaken when a person other than `user` works on it, and CaseClosed."""
    case = lock_open(case_id, user=user)
    if not (case.status == CaseStatus.CLAIMED and case.owner_id == to.pk):
        _move(case, "case.claimed", reason, owner=to)
    return case


@transaction.atomic
def take_over(case_id: int, *, user: User, reason: str) -> ExceptionCase:
    """Make a case that somebody else has `user`'s, knowingly: its owner may be away. Raises CaseClosed."""
    case = lock_open(case_id)
    _move(case, "case.claimed", reason, owner=user)
    return case


@transaction.atomic
def hand_back(case_id: int, *, user: User, reason: str) -> ExceptionCase:
    """Give it back to the queue."""
    case = lock_open(case_id, user=user)
    if case.status != CaseStatus.OPEN or case.owner_id is not None:
        transition(case, "case.handed_back", reason=reason, owner=None, snoozed_until=None)
    return case


def moves() -> QuerySet[WorkflowEvent]:
    """What brought cases where they are; that they woke by themselves does not count."""
    return WorkflowEvent.objects.filter(subject_type="exceptioncase").exclude(to_state="").exclude(name="case.woken")


def last_move(case_id: int) -> WorkflowEvent | None:
    return moves().filter(subject_id=case_id).order_by("-pk").first()


@transaction.atomic
def take_back(case_id: int, *, move_id: int | None, user: User, reason: str) -> ExceptionCase:
    """Undo a claim, an assignment, a snooze or an escalation of `user`'s: the case stands as it did before.

    Who may no longer settle it does not get it again. The event says what was `undone`, and cannot be undone itself.
    Raises CaseClosed, and CaseTaken when it was not `user` who did that, or when the case went on since.
    """
    case, move = lock_open(case_id), last_move(case_id)
    own = move is not None and (move.actor_kind, move.actor_name) == (ActorKind.USER, user.get_username())
    undoable = move is not None and move.name in _UNDONE and "undone" not in move.detail
    if move is None or not own or move.pk != move_id or not undoable:
        whose = f", with {case.owner}" if case.owner else ""
        raise CaseTaken(f"{case} changed since: it is {case.get_status_display().lower()}{whose}.")
    # An event of before it was kept how the case stood tells the state alone.
    kept, stood = move.detail, CaseStatus(move.from_state)
    owner = User.objects.filter(pk=kept.get("owner")).first()
    if owner and not can(Viewer.of(owner), "exceptions.resolve", case.site_id):
        owner = None
    if owner is None and stood in (CaseStatus.CLAIMED, CaseStatus.SNOOZED):
        stood = CaseStatus.OPEN
    until = datetime.fromisoformat(kept["snoozed_until"]) if stood == CaseStatus.SNOOZED else None
    _move(case, _RETURNS[stood], reason, owner=owner, snoozed_until=until, undone=move.pk)
    return case


@transaction.atomic
def snooze(case_id: int, *, user: User, until: datetime, reason: str) -> ExceptionCase:
    """Out of sight until then; its due time stands."""
    case = lock_open(case_id, user=user)
    _move(case, "case.snoozed", reason, owner=user, snoozed_until=until)
    return case


@transaction.atomic
def escalate(case_id: int, *, user: User, to: User | None, reason: str) -> ExceptionCase:
    case = lock_open(case_id, user=user)
    _move(case, "case.escalated", reason, owner=to)
    return case


@transaction.atomic
def dismiss(case_id: int, *, user: User, reason: str) -> ExceptionCase:
    """Settle without doing anything. Not for held studies: those are matched or rejected."""
    case = lock_open(case_id, user=user)
    transition(case, "case.dismissed", reason=reason, resolved_at=timezone.now(), resolution="dismissed")
    return case


@transaction.atomic
def resolve(case: ExceptionCase, *, resolution: str, reason: str = "") -> None:
    """Settle an open case because what it was about is settled."""
    transition(case, "case.resolved", reason=reason, resolved_at=timezone.now(), resolution=resolution)


@transaction.atomic
def resolve_about(kind: str, *, about: Subject, resolution: str) -> None:
    """Settle the open case of this kind about that row, if there is one and no person has claimed it."""
    case = (
        ExceptionCase.objects.filter(
            kind=kind, subject_type=about._meta.model_name, subject_id=about.pk, status__in=CASE_OPEN
        )
        .exclude(status=CaseStatus.CLAIMED)
        .first()
    )
    if case:
        resolve(case, resolution=resolution)


def wake_snoozed() -> None:
    """Sweep: cases whose snooze is over come back to the queue."""
    for case in ExceptionCase.objects.filter(status=CaseStatus.SNOOZED, snoozed_until__lte=timezone.now()):
        transition(case, "case.woken", snoozed_until=None)
