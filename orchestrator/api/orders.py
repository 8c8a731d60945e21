"""orders/"""

from typing import ClassVar

from django.db.models import QuerySet
from rest_framework import serializers

from orchestrator.api.patients import PATIENT_IDENTIFIERS, PatientBrief
from orchestrator.api.resources import Resource, looking
from orchestrator.filters import OrderFilter
from orchestrator.models import ImagingServiceRequest, RequestedProcedure, ScheduledProcedureStep, Visit
from orchestrator.selectors import orders


class VisitBrief(serializers.ModelSerializer[Visit]):
    """A visit inside another resource."""

    class Meta:
        model = Visit
        fields = ("id", "visit_number", "patient_class", "location", "status")


class OrderBrief(serializers.ModelSerializer[ImagingServiceRequest]):
    """An order inside another resource."""

    class Meta:
        model = ImagingServiceRequest
        fields: ClassVar = ("id", "accession_number", "placer_order_number", "filler_order_number", "status")


class StepSerializer(serializers.ModelSerializer[ScheduledProcedureStep]):
    start = serializers.SerializerMethodField(help_text="Local date and time as ordered, without zone.")

    class Meta:
        model = ScheduledProcedureStep
        fields = ("id", "sps_id", "status", "modality", "station_ae_titles", "start", "description")

    def get_start(self, step: ScheduledProcedureStep) -> str | None:
        if step.start_date is None:
            return None
        return f"{step.start_date:%Y-%m-%d}" + (f"T{step.start_time:%H:%M:%S}" if step.start_time else "")


class ProcedureSerializer(serializers.ModelSerializer[RequestedProcedure]):
    code = serializers.CharField(source="code_value")
    steps = StepSerializer(many=True)

    class Meta:
        model = RequestedProcedure
        fields = ("id", "requested_procedure_id", "study_instance_uid", "code", "description", "steps")


class OrderSerializer(OrderBrief):
    patient = PatientBrief()
    visit = VisitBrief(allow_null=True)
    requested_procedures = ProcedureSerializer(many=True)

    class Meta:
        model = ImagingServiceRequest
        fields: ClassVar = (*OrderBrief.Meta.fields, "priority", "patient", "visit", "requested_procedures")


class OrderResource(Resource[ImagingServiceRequest]):
    """Orders with their requested procedures and scheduled steps."""

    queryset = ImagingServiceRequest.objects.all()
    serializer_class = OrderSerializer
    filterset_class = OrderFilter
    required_actions = looking("orders.view")
    subject_type = "order"

    def get_queryset(self) -> QuerySet[ImagingServiceRequest]:
        return (
            orders(self.viewer)
            .select_related("patient", "visit")
            .prefetch_related(PATIENT_IDENTIFIERS, "requested_procedures__steps")
        )
