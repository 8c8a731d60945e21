"""One's own background jobs: the list, one with its result per row, and the sign of those that run."""

import datetime as dt
from collections import Counter
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from orchestrator.models import Job, JobItem
from orchestrator.permissions import Viewer, require
from orchestrator.selectors import number_of
from orchestrator.services.jobs import stop_job
from orchestrator.states import JobStatus

from . import lists, replies, viewer_of

# A job that ended a moment ago is still shown beside those that run.
_JUST_ENDED = dt.timedelta(minutes=2)
_RUNNING = (JobStatus.QUEUED, JobStatus.RUNNING)


def own_jobs(viewer: Viewer) -> QuerySet[Job]:
    """The viewer's jobs: nobody sees another person's."""
    return Job.objects.filter(owner_id=viewer.user_id)


def pace(job: Job) -> dict[str, Any]:
    """The job with what `components/job.html` shows: items per second, and the seconds that are left."""
    seconds = ((job.finished_at or timezone.now()) - job.started_at).total_seconds() if job.started_at else 0
    rate = job.done / seconds if seconds > 0 and job.done else None
    left = (job.total - job.done) / rate if rate and job.total is not None and not job.finished_at else None
    return {"job": job, "rate": rate, "left": left, "took": seconds if job.finished_at else None}


@require_GET
def job_list(request: HttpRequest) -> HttpResponse:
    """One's jobs, the last started first."""
    viewer = viewer_of(request)
    require(viewer, "jobs.view")
    found = lists.page_of(request, own_jobs(viewer), "created_at")
    context = {
        "heading": "Jobs",
        "subtitle": "long work that you started",
        "found": found,
        "rows": [pace(job) for job in found.rows],
        "here": lists.here(request),
    }
    standing = [(job.pk, job.status, job.done, job.failed, job.skipped, job.stop_requested) for job in found.rows]
    version = (request.GET.get("after"), standing)
    return replies.page(
        request, "orchestrator/jobs.html", "orchestrator/_jobs.html", context, version=version, minute=lists.minute()
    )


@require_GET
def job_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One job, with the result of each row."""
    viewer = viewer_of(request)
    require(viewer, "jobs.view")
    job = get_object_or_404(own_jobs(viewer), pk=pk)
    numbers = Counter(dict(_by_outcome(job)))
    outcome = request.GET.get("outcome", "")
    items = job.items.order_by("pk")
    chosen = items.filter(outcome=outcome) if outcome in JobItem.Outcome.values else items
    shown = list(chosen.filter(pk__gt=number_of(request.GET.get("after", "")) or 0)[: lists.PAGE_ROWS + 1])
    more = len(shown) > lists.PAGE_ROWS
    rows = shown[: lists.PAGE_ROWS]
    after = str(rows[-1].pk) if more else ""
    row_url = str(job.parameters.get("row_url", ""))
    context = {
        **pace(job),
        "running": job.status in _RUNNING,
        "tabs": _tabs(request, numbers, outcome),
        "rows": [{"item": item, "url": reverse(row_url, args=[item.subject_id]) if row_url else ""} for item in rows],
        "row_name": job.parameters.get("row_name", ""),
        "next": lists.address(request, after=after) if after else "",
        "first": lists.address(request) if request.GET.get("after") else "",
        "back": job.parameters.get("back", ""),
        "reason": job.parameters.get("reason", ""),
        "undo": job.parameters.get("undo") if job.finished_at and numbers[JobItem.Outcome.DONE] else None,
        "here": lists.here(request),
    }
    after_row = request.GET.get("after")
    version = (job.status, job.done, job.stop_requested, outcome, after_row, job.last_error)
    return replies.page(
        request, "orchestrator/job.html", "orchestrator/_job.html", context, version=version, minute=lists.minute()
    )


def _by_outcome(job: Job) -> dict[str, int]:
    """How many rows came to which end; told by the job's own counters, so that a poll counts nothing."""
    ended = job.done - job.failed - job.skipped
    return {
        JobItem.Outcome.DONE: ended,
        JobItem.Outcome.SKIPPED: job.skipped,
        JobItem.Outcome.FAILED: job.failed,
        JobItem.Outcome.WAITING: (job.total or 0) - job.done,
    }


def _tabs(request: HttpRequest, numbers: Counter[str], outcome: str) -> list[dict[str, Any]]:
    choices = [
        ("", "All rows", numbers.total()),
        *((each.value, each.label, numbers[each]) for each in JobItem.Outcome),
    ]
    return [
        {"label": label, "url": lists.address(request, outcome=value), "active": value == outcome, "count": number}
        for value, label, number in choices
        if number or value in ("", outcome)
    ]


@require_POST
def stop(request: HttpRequest, pk: int) -> HttpResponse:
    """Stop at the next row; what is done stays done."""
    viewer = viewer_of(request)
    require(viewer, "jobs.stop")
    job = get_object_or_404(own_jobs(viewer), pk=pk)
    stop_job(job.pk)
    words = "Stops after the row that it is at. What is done stays done."
    return replies.done(request, words, to=reverse("job", args=[pk]), colour="move", stay=True)


@require_GET
def running(request: HttpRequest) -> HttpResponse:
    """The sign in the top bar: one's jobs that run, and those that ended a moment ago."""
    viewer = viewer_of(request)
    recent = Q(status__in=_RUNNING) | Q(finished_at__gte=timezone.now() - _JUST_ENDED)
    found = list(own_jobs(viewer).filter(recent).order_by("-created_at")[:3])
    context = {"jobs": [pace(job) for job in found], "busy": any(job.status in _RUNNING for job in found)}
    version = [(job.pk, job.status, job.done) for job in found]
    part = "components/jobs.html"
    return replies.page(request, part, part, context, version=version)
