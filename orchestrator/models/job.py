"""Long work that a person started and watches."""

from typing import ClassVar

from django.conf import settings
from django.db import models

from orchestrator.models.workflow import Work
from orchestrator.states import JobStatus


class Job(Work):
    """A background job with progress. `kind` is the dotted name of its function."""

    kind = models.CharField(max_length=200)
    title = models.CharField(max_length=200)
    parameters = models.JSONField(default=dict)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="jobs")
    status = models.CharField(max_length=7, choices=JobStatus.choices, default=JobStatus.QUEUED)
    total = models.PositiveIntegerField(null=True, blank=True)
    done = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    stop_requested = models.BooleanField(default=False)
    result = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["owner", "-created_at"], name="job_of_owner")]

    def __str__(self) -> str:
        return f"job {self.pk}"

    def event_links(self) -> dict[str, int | None]:
        return {}


class JobItem(models.Model):
    """One row that a job is about, as it was when the job was started, and what became of it."""

    class Outcome(models.TextChoices):
        WAITING = "waiting", "Still to do"
        DONE = "done", "Done"
        SKIPPED = "skipped", "Left as it is"
        FAILED = "failed", "Failed"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="items")
    subject_id = models.BigIntegerField()
    # What the person saw of it: a row that is otherwise by now is left as it is.
    seen = models.CharField(max_length=40)
    outcome = models.CharField(max_length=7, choices=Outcome.choices, default=Outcome.WAITING)
    # Why it was left as it is, or what failed. No patient data: the row itself leads to it.
    text = models.CharField(max_length=300, blank=True)
    at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["job", "subject_id"], name="job_item_once")]
        indexes: ClassVar = [models.Index(fields=["job", "outcome", "id"], name="job_item_outcome")]

    def __str__(self) -> str:
        return f"{self.subject_id} of job {self.job_id}"
