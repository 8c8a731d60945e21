"""studies/ and their timelines"""

from functools import cached_property
from typing import Any

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator.api.orders import OrderBrief
from orchestrator.api.patients import PATIENT_IDENTIFIERS, PatientBrief
from orchestrator.api.resources import Resource, looking
from orchestrator.filters import StudyFilter
from orchestrator.models import (
    IdentityClaim,
    ImagingServiceRequest,
    ScheduledProcedureStep,
    Series,
    Study,
    WorkflowEvent,
)
from orchestrator.selectors import studies, study_events


class MatchedStepSerializer(serializers.ModelSerializer[ScheduledProcedureStep]):
    """The step that a claim is matched to, with what it belongs to."""

    requested_procedure_id = serializers.CharField(source="procedure.requested_procedure_id")
    study_instance_uid = serializers.CharField(source="procedure.study_instance_uid")

    class Meta:
        model = ScheduledProcedureStep
        fields = ("id", "sps_id", "status", "requested_procedure_id", "study_instance_uid")


class ClaimSerializer(serializers.ModelSerializer[IdentityClaim]):
    order = OrderBrief(allow_null=True)
    step = MatchedStepSerializer(allow_null=True)

    class Meta:
        model = IdentityClaim
        fields = (
            "id", "identity", "matched_by", "patient_id", "issuer", "patient_name", "birth_date", "sex",
            "accession_number", "calling_ae_title", "modality", "purpose", "number_of_instances", "order", "step",
        )  # fmt: skip


class SeriesSerializer(serializers.ModelSerializer[Series]):
    class Meta:
        model = Series
        fields = (
            "series_instance_uid", "modality", "series_number", "series_description", "body_part_examined",
            "station_name", "number_of_instances",
        )  # fmt: skip


class StudySerializer(serializers.ModelSerializer[Study]):
    accession_number = serializers.SerializerMethodField(help_text="Of the matched order, else as received.")
    matched_by = serializers.SerializerMethodField(help_text="How all claims were matched; null when they differ.")
    patient = PatientBrief(allow_null=True)
    order = serializers.SerializerMethodField(help_text="The one order; null when there is none or several.")
    orders = serializers.SerializerMethodField()
    claims = ClaimSerializer(many=True)
    series = SeriesSerializer(many=True)

    class Meta:
        model = Study
        fields = (
            "id", "study_instance_uid", "accession_number", "identity", "matched_by", "custody", "context", "quality",
            "patient", "order", "orders", "claims", "modalities", "study_description", "study_date",
            "number_of_instances", "series", "received_from", "first_received_at", "last_received_at",
        )  # fmt: skip

    def get_accession_number(self, study: Study) -> str:
        claims = study.claims.all()
        ordered = (claim.order.accession_number for claim in claims if claim.order)
        return next((number for number in ordered if number), "") or next(
            (claim.accession_number for claim in claims if claim.accession_number), ""
        )

    def get_matched_by(self, study: Study) -> str | None:
        found = {claim.matched_by for claim in study.claims.all()} - {""}
        return found.pop() if len(found) == 1 else None

    @extend_schema(responses=OrderBrief(allow_null=True))
    def get_order(self, study: Study) -> dict[str, Any] | None:
        found = _orders(study)
        return self._brief.to_representation(found[0]) if len(found) == 1 else None

    @extend_schema(responses=OrderBrief(many=True))
    def get_orders(self, study: Study) -> list[dict[str, Any]]:
        return [self._brief.to_representation(order) for order in _orders(study)]

    @cached_property  # a serializer takes longer to make than to use
    def _brief(self) -> OrderBrief:
        return OrderBrief()


def _orders(study: Study) -> list[ImagingServiceRequest]:
    """Those that its claims were matched to, each once."""
    return list({claim.order.pk: claim.order for claim in study.claims.all() if claim.order}.values())


class EventSerializer(serializers.ModelSerializer[WorkflowEvent]):
    subject = serializers.SerializerMethodField()
    actor = serializers.SerializerMethodField()

    class Meta:
        model = WorkflowEvent
        fields = ("at", "name", "subject", "from_state", "to_state", "actor", "reason", "detail")

    def get_subject(self, event: WorkflowEvent) -> dict[str, Any]:
        return {"type": event.subject_type, "id": event.subject_id}

    def get_actor(self, event: WorkflowEvent) -> dict[str, str]:
        return {"kind": event.actor_kind, "name": event.actor_name}


class StudyResource(Resource[Study]):
    """Studies as received: whose they claim to be, whose they are, and where they have been."""

    queryset = Study.objects.all()
    serializer_class = StudySerializer
    filterset_class = StudyFilter
    required_actions = {**looking("studies.view"), "timeline": "studies.view"}
    subject_type = "study"
    lookup_field = "study_instance_uid"
    lookup_value_regex = "[0-9.]+"

    def get_queryset(self) -> QuerySet[Study]:
        claims = IdentityClaim.objects.select_related("order", "step__procedure").order_by("pk")
        return (
            studies(self.viewer)
            .select_related("patient")
            .prefetch_related(PATIENT_IDENTIFIERS, Prefetch("claims", claims), "series")
        )

    @extend_schema(responses=EventSerializer(many=True), filters=False, parameters=[])
    @action(detail=True, pagination_class=None, filterset_class=None)
    def timeline(self, request: Request, **_kwargs: Any) -> Response:
        """Every event of the study and of its orders, oldest first."""
        study = self.get_object()
        self.note(str(study.pk))
        return Response(EventSerializer(study_events(study, limit=None), many=True).data)
