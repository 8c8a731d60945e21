"""What people did to many rows at once: as many jobs as a list shows, the last of them as large as one may be.

And what was compared with what, of the cases that are due first.
"""

import datetime as dt

from orchestrator.models import ExceptionCase, IdentityClaim, Job, JobItem
from orchestrator.services.bulk import MOST_ROWS
from orchestrator.states import CASE_WAITING, JobStatus
from reconciliation.services.reconcile import compare
from routing.models import Delivery

_JOBS = 60
_COMPARED = 20  # cases
_FAILS, _STAYS = 10, 7  # of so many rows one


def add_jobs(owner: int, now: dt.datetime) -> None:
    """Retries of deliveries, one a day, all by one person."""
    keys = list(Delivery.objects.order_by("-pk").values_list("pk", flat=True)[:MOST_ROWS])
    for number in range(_JOBS, 0, -1):
        rows = keys if number == 1 else keys[:5]
        items = [JobItem(subject_id=key, seen="FAILED", outcome=_outcome(place)) for place, key in enumerate(rows)]
        outcomes = [item.outcome for item in items]
        ended = now.replace(tzinfo=dt.UTC) - dt.timedelta(days=number)
        job = Job.objects.create(
            kind="routing.services.bulk.run", title="Retry deliveries", owner_id=owner, status=JobStatus.DONE,
            parameters={"act": "retry", "row_url": "delivery", "row_name": "Delivery "}, total=len(rows),
            done=len(rows), failed=outcomes.count(JobItem.Outcome.FAILED),
            skipped=outcomes.count(JobItem.Outcome.SKIPPED), started_at=ended - dt.timedelta(minutes=9),
            finished_at=ended,
        )  # fmt: skip
        Job.objects.filter(pk=job.pk).update(created_at=job.started_at)
        for item in items:
            item.job, item.at = job, ended
        JobItem.objects.bulk_create(items, batch_size=1000)


def compare_held() -> None:
    """As a study that is held was compared, by then; of all cases it would take hours."""
    first = ExceptionCase.objects.filter(status__in=CASE_WAITING, claim__isnull=False).order_by("due_at")[:_COMPARED]
    for claim in IdentityClaim.objects.filter(pk__in=[case.claim_id for case in first]):
        compare(claim)


def _outcome(place: int) -> str:
    if place % _FAILS == 0:
        return JobItem.Outcome.FAILED
    return JobItem.Outcome.SKIPPED if place % _STAYS == 0 else JobItem.Outcome.DONE
