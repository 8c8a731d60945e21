"""jobs/"""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator.api.resources import Resource, looking
from orchestrator.filters import JobFilter
from orchestrator.models import Job
from orchestrator.services.jobs import stop_job


class JobSerializer(serializers.ModelSerializer[Job]):
    class Meta:
        model = Job
        fields = (
            "id", "title", "status", "total", "done", "failed", "skipped", "result", "last_error", "created_at",
            "started_at", "finished_at",
        )  # fmt: skip


class JobResource(Resource[Job]):
    """One's own background jobs."""

    queryset = Job.objects.all()
    serializer_class = JobSerializer
    filterset_class = JobFilter
    required_actions = {**looking("jobs.view"), "stop": "jobs.stop"}

    def get_queryset(self) -> QuerySet[Job]:
        return Job.objects.filter(owner_id=self.viewer.user_id)

    @extend_schema(request=None, responses=JobSerializer)
    @action(detail=True, methods=["post"])
    def stop(self, request: Request, **_kwargs: Any) -> Response:
        """Ask the job to stop at its next item."""
        stop_job(self.get_object().pk)
        return Response(JobSerializer(self.get_object()).data)
