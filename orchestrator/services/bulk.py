"""The same done to many rows: frozen when it was started, then row by row in the background, each with its result."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from orchestrator.models import Actor, ActorKind, Job, JobItem, User, acting
from orchestrator.permissions import Viewer
from orchestrator.services import jobs
from orchestrator.services.workflow import LeaseLost

logger = logging.getLogger(__name__)

# Who means more than these does better to write a rule.
MOST_ROWS = 20_000
_AT_ONCE = 200
_OTHERWISE = "Something failed in Fiducial; an administrator finds the reason in the log."


class Left(Exception):
    """The row is left as it is; the text says why."""


Do = Callable[[Viewer, User, int, str], None]


@transaction.atomic
def start(kind: str, *, title: str, owner: User, rows: Iterable[tuple[int, str]], parameters: dict[str, Any]) -> Job:
    """Queue `kind` for these rows: (id, what the person saw of it). What comes to match later is not among them."""
    job = jobs.start_job(kind, title=title, owner=owner, parameters=parameters)
    items = JobItem.objects.bulk_create(
        [JobItem(job=job, subject_id=key, seen=seen) for key, seen in rows], batch_size=1000
    )
    job.total = len(items)
    job.save(update_fields=["total"])
    return job


def run(job: Job, do: Do) -> dict[str, Any]:
    """Do each row that still waits, as the job's owner, who may do less by now than at the start.

    A job whose worker died goes on with the first row that has no result.
    """
    counts = Counter(job.items.exclude(outcome=JobItem.Outcome.WAITING).values_list("outcome", flat=True))
    reason = str(job.parameters.get("reason", ""))
    with acting(Actor(ActorKind.USER, job.owner.get_username(), job.owner_id), reason):
        while rows := list(job.items.filter(outcome=JobItem.Outcome.WAITING).order_by("pk")[:_AT_ONCE]):
            for row in rows:
                jobs.go_on(job)
                counts[_one(row, job.owner_id, do)] += 1
                _count(job, counts)
    return {name: counts[name] for name in (JobItem.Outcome.DONE, JobItem.Outcome.SKIPPED, JobItem.Outcome.FAILED)}


@transaction.atomic
def _one(row: JobItem, owner_id: int, do: Do) -> str:
    """One row and its result, in one transaction."""
    outcome, text = JobItem.Outcome.DONE, ""
    owner = User.objects.get(pk=owner_id)
    try:
        # A savepoint: the result is kept whatever the row's own writes did.
        with transaction.atomic():
            do(Viewer.of(owner), owner, row.subject_id, row.seen)
    except Left as left:
        outcome, text = JobItem.Outcome.SKIPPED, str(left)
    except LeaseLost:
        outcome, text = JobItem.Outcome.SKIPPED, "A worker has it at this moment."
    except Exception:
        logger.exception("Row %s of %s failed", row.subject_id, row.job_id)
        outcome, text = JobItem.Outcome.FAILED, _OTHERWISE
    written = JobItem.objects.filter(pk=row.pk, outcome=JobItem.Outcome.WAITING).update(
        outcome=outcome, text=text[:300], at=Now()
    )
    if not written:
        raise LeaseLost(f"{row} was done by another worker.")
    return str(outcome)


def _count(job: Job, counts: Counter[str]) -> None:
    Job.objects.filter(pk=job.pk).update(
        done=counts.total(), failed=counts[JobItem.Outcome.FAILED], skipped=counts[JobItem.Outcome.SKIPPED]
    )
