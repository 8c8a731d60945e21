"""Background jobs: long work that a person started, with progress, and that can be stopped."""

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from orchestrator.models import Job, JobItem, Site, User
from orchestrator.services import leases
from orchestrator.services.exceptions import open_case
from orchestrator.services.workflow import LeaseLost, record, ring, transition
from orchestrator.states import JobStatus

# A job that takes its worker down with it that often is given up.
MOST_ATTEMPTS = 5
_KEPT = timedelta(days=180)
_ROWS_AT_ONCE = 1000


class JobStopped(Exception):
    """The person who started the job stopped it."""


@transaction.atomic
def start_job(kind: str, *, title: str, owner: User, parameters: dict[str, Any]) -> Job:
    """Queue `kind`, the dotted name of a function(job) -> result dict."""
    job = Job.objects.create(kind=kind, title=title, owner=owner, parameters=parameters)
    ring("orchestrator.tasks.run_job", job.pk)
    return job


@transaction.atomic
def stop_job(job_id: int) -> None:
    """Ask a job to stop at its next item. Who asked stands in its events."""
    going = Job.objects.filter(pk=job_id, status__in=[JobStatus.QUEUED, JobStatus.RUNNING], stop_requested=False)
    if going.update(stop_requested=True):
        record("job.stop_requested", Job.objects.get(pk=job_id))


def go_on(job: Job) -> None:
    """Before each item. Raises JobStopped when a person asked for that, LeaseLost when another worker took over."""
    leases.renew(job)
    if Job.objects.filter(pk=job.pk, stop_requested=True).exists():
        raise JobStopped


def run_job(job_id: int) -> None:
    """Run a queued job, or one whose worker died."""
    job = leases.take(Job.objects.filter(status__in=[JobStatus.QUEUED, JobStatus.RUNNING]), job_id)
    if job is None:
        return
    if job.stop_requested:
        _finish(job, "job.stopped")
        return
    if job.attempts > MOST_ATTEMPTS:
        _fail(job, f"Its worker died {MOST_ATTEMPTS} times while it ran.")
        return
    transition(job, "job.started", started_at=job.started_at or timezone.now())
    try:
        with leases.held(job):
            result = import_string(job.kind)(job)
    except JobStopped:
        _finish(job, "job.stopped")
    except LeaseLost:
        raise
    except Exception as error:
        _fail(job, f"{type(error).__name__}: {error}")
        raise
    else:
        _finish(job, "job.done", result=result)


def _finish(job: Job, event: str, **columns: Any) -> None:
    transition(job, event, finished_at=timezone.now(), next_attempt_at=None, lease_until=None, **columns)


@transaction.atomic
def _fail(job: Job, error: str) -> None:
    _finish(job, "job.failed", last_error=error)
    open_case(
        "automation_failed",
        about=job,
        reason_code="job.failed",
        summary=f"Job {job.pk} of {job.owner.username} ended before its end: the job itself says why.",
        site=Site.objects.earliest("pk"),
        source=job.kind[:100],
    )


def forget_old() -> None:
    """Sweep: the oldest job that ended long ago, its rows in portions; what it did stands in their history."""
    job = Job.objects.filter(finished_at__lt=timezone.now() - _KEPT).order_by("pk").first()
    if job is None:
        return
    if keys := list(job.items.values_list("pk", flat=True)[:_ROWS_AT_ONCE]):
        JobItem.objects.filter(pk__in=keys).delete()
    else:
        job.delete()


def ring_due() -> None:
    """Sweep: jobs whose bell was lost or whose worker died."""
    for job in leases.due(Job.objects.filter(status__in=[JobStatus.QUEUED, JobStatus.RUNNING]))[:100]:
        ring("orchestrator.tasks.run_job", job.pk)
