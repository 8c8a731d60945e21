"""patients/"""

from typing import ClassVar

from django.db.models import Prefetch, QuerySet
from rest_framework import serializers

from orchestrator.api.resources import Resource, looking
from orchestrator.filters import PatientFilter
from orchestrator.models import Patient, PatientIdentifier
from orchestrator.permissions import visible_to

IDENTIFIERS = Prefetch("identifiers", PatientIdentifier.objects.select_related("issuer").order_by("-primary", "pk"))
PATIENT_IDENTIFIERS = Prefetch(
    "patient__identifiers", PatientIdentifier.objects.select_related("issuer").order_by("-primary", "pk")
)


class IdentifierSerializer(serializers.ModelSerializer[PatientIdentifier]):
    issuer = serializers.CharField(source="issuer.__str__", help_text="Namespace, or the universal id without one.")

    class Meta:
        model = PatientIdentifier
        fields = ("value", "issuer")


class PatientBrief(serializers.ModelSerializer[Patient]):
    """A patient inside another resource."""

    identifiers = IdentifierSerializer(many=True)

    class Meta:
        model = Patient
        fields: ClassVar = ("id", "identifiers", "name", "birth_date", "sex")


class PatientSerializer(PatientBrief):
    merged_into = serializers.IntegerField(source="merged_into_id", allow_null=True)

    class Meta:
        model = Patient
        fields: ClassVar = (*PatientBrief.Meta.fields, "uid", "merged_into", "active")


class PatientResource(Resource[Patient]):
    """Patients; a merged record stays, and says into which one it was merged."""

    queryset = Patient.objects.all()
    serializer_class = PatientSerializer
    filterset_class = PatientFilter
    required_actions = looking("patients.view")
    subject_type = "patient"

    def get_queryset(self) -> QuerySet[Patient]:
        return visible_to(Patient.objects.prefetch_related(IDENTIFIERS), self.viewer, "patients.view")
