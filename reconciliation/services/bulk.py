"""What is done to many cases at once, each judged as it is when its turn comes."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Exists, OuterRef, Subquery
from django.utils.dateparse import parse_datetime

from orchestrator.models import ExceptionCase, Job, JobItem, User
from orchestrator.permissions import Viewer, can
from orchestrator.services import bulk, exceptions
from orchestrator.states import CASE_OPEN, CaseStatus
from reconciliation.services.reconcile import HELD_KINDS


class Standing(NamedTuple):
    """What decides whether something may be done to a case; cases that stand alike are counted together."""

    status: str
    owner_id: int | None
    kind: str

    def seen(self) -> str:
        return f"{self.status} {self.owner_id or ''}"


def standing(case: ExceptionCase) -> Standing:
    return Standing(case.status, case.owner_id, case.kind)


def why_left(act: str, case: Standing, *, user_id: int, to_id: int | None = None) -> str:
    """Why a case that stands like this is left as it is; empty when the act applies to it.

    `to_id`: who gets it by an "assign", or got it by the assignment that a "hand-back" takes back.
    """
    if case.status not in CASE_OPEN:
        return "settled already"
    if case.status == CaseStatus.CLAIMED and case.owner_id not in (user_id, to_id if act == "hand-back" else None):
        return "with somebody else, who keeps them"
    if act == "assign" and case.status == CaseStatus.CLAIMED and case.owner_id == to_id:
        return "theirs already"
    if act == "hand-back" and case.status == CaseStatus.OPEN and case.owner_id is None:
        return "in the queue already"
    if act == "snooze" and case.status == CaseStatus.SNOOZED:
        return "asleep already"
    if act == "dismiss" and case.kind in HELD_KINDS:
        return "held images, which are matched or rejected, not dismissed"
    return ""


def given_to(job: Job | None) -> int | None:
    """Whom a job has given its cases; None when it gave them to nobody."""
    return job.parameters.get("to") if job else None


def went_on(job: Job) -> Exists:
    """Whether a case moved since the job did something to it: then that is not taken back."""
    done = JobItem.objects.filter(job=job, subject_id=OuterRef(OuterRef("pk")))
    return Exists(exceptions.moves().filter(subject_id=OuterRef("pk"), at__gt=Subquery(done.values("at"))))


def _may_get(user_id: int | None, case: ExceptionCase) -> bool:
    user = User.objects.get(pk=user_id) if user_id else None
    return user is not None and can(Viewer.of(user), "exceptions.resolve", case.site_id)


def _take_back(job: Job, key: int, user: User, reason: str) -> None:
    """What the job did to the case, unless the case went on since."""
    since = JobItem.objects.get(job=job, subject_id=key).at
    move = exceptions.last_move(key)
    own = move.pk if move and since and move.at <= since else None
    try:
        exceptions.take_back(key, move_id=own, user=user, reason=reason)
    except exceptions.CaseTaken as changed:
        raise bulk.Left(str(changed)) from changed


Write = Callable[[int, User, Mapping[str, Any]], object]


def _until(parameters: Mapping[str, Any]) -> datetime:
    until = parse_datetime(parameters["until"])
    if until is None:
        raise ValueError(parameters["until"])
    return until


_WRITES: Mapping[str, Write] = {
    "assign": lambda key, user, asked: exceptions.assign(
        key, user=user, to=User.objects.get(pk=asked["to"]), reason=asked["reason"]
    ),
    "hand-back": lambda key, user, asked: exceptions.hand_back(key, user=user, reason=asked["reason"]),
    "snooze": lambda key, user, asked: exceptions.snooze(key, user=user, until=_until(asked), reason=asked["reason"]),
    "dismiss": lambda key, user, asked: exceptions.dismiss(key, user=user, reason=asked["reason"]),
}


def settle(job: Job) -> dict[str, Any]:
    """Job: `act` on each case of the job."""
    act, undoes = job.parameters["act"], job.parameters.get("undoes")
    undone = Job.objects.get(pk=undoes) if undoes else None
    to_id = given_to(undone or job)

    def do(viewer: Viewer, user: User, key: int, seen: str) -> None:
        case = ExceptionCase.objects.select_for_update(of=("self",), no_key=True).get(pk=key)
        if not can(viewer, "exceptions.resolve", case.site_id):
            raise bulk.Left("You may not settle cases of its site.")
        if act == "assign" and not _may_get(to_id, case):
            raise bulk.Left("Who was to get it may not settle cases of its site.")
        now = standing(case)
        if left := why_left(act, now, user_id=user.pk, to_id=to_id):
            raise bulk.Left(f"Left as it is: {left}.")
        if now.seen() != seen:
            whose = f", with {case.owner}" if case.owner else ""
            raise bulk.Left(f"Changed since you started this: it is {case.get_status_display().lower()}{whose}.")
        if undone:
            _take_back(undone, key, user, job.parameters["reason"])
        else:
            _WRITES[act](key, user, job.parameters)

    return bulk.run(job, do)
