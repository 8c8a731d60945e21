"""Long work that a person started and watches."""

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
    stop_requested = models.BooleanField(default=False)
    result = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"job {self.pk}"

    def event_links(self) -> dict[str, int | None]:
        return {}
