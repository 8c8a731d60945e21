"""candidates/: whose could these images be? Asked without opening a case."""

from collections.abc import Mapping, Sequence
from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orchestrator.api.authentication import viewer_of
from orchestrator.api.orders import OrderBrief
from orchestrator.api.patients import PATIENT_IDENTIFIERS, PatientBrief
from orchestrator.audit import record_access
from orchestrator.models import IdentityClaim, Site, Study
from orchestrator.permissions import Viewer, visible_to
from orchestrator.selectors import orders
from reconciliation import selectors
from reconciliation.matching import match
from reconciliation.services import reconcile

_EVIDENCE = inline_serializer(
    "Evidence",
    {
        "field": serializers.CharField(),
        "verdict": serializers.ChoiceField(choices=["agree", "close", "differ", "missing"]),
        "received": serializers.CharField(),
        "expected": serializers.CharField(),
    },
    many=True,
)


class GivenClaimSerializer(serializers.ModelSerializer[IdentityClaim]):
    """What images say of themselves, as DICOM writes it (dates as YYYYMMDD)."""

    study_instance_uid = serializers.CharField(required=False, default="", allow_blank=True, max_length=64)

    class Meta:
        model = IdentityClaim
        fields = (
            "patient_id", "issuer", "issuer_universal_id", "patient_name", "birth_date", "sex", "accession_number",
            "study_instance_uid", "requested_procedure_id", "sps_id", "modality", "calling_ae_title", "study_date",
        )  # fmt: skip


class CandidateSerializer(serializers.Serializer[Any]):
    order = OrderBrief()
    patient = PatientBrief()
    score = serializers.IntegerField(help_text="0 to 100.")
    auto_match = serializers.BooleanField(help_text="Whether it would be matched without a person.")
    evidence = _EVIDENCE


def shown(ranked: Sequence[Mapping[str, Any]], viewer: Viewer) -> list[Any]:
    """Ranked candidates as MatchRun keeps them, each order once, as far as the viewer may see it."""
    fitting = sum(each["qualifies"] for each in ranked)
    best: dict[int, Mapping[str, Any]] = {}
    for each in ranked:
        best.setdefault(each["order"], each)
    rows = orders(viewer).select_related("patient").prefetch_related(PATIENT_IDENTIFIERS).in_bulk(best)
    found = [
        # Of two that fit equally a person chooses.
        {
            **each,
            "order": rows[key],
            "patient": rows[key].patient,
            "auto_match": each["qualifies"] and fitting == 1,
        }
        for key, each in best.items()
        if key in rows
    ]
    return list(CandidateSerializer(found, many=True).data)


class Candidates(APIView):
    """Ranked orders for a claim that is given, not received."""

    required_actions = {"post": "exceptions.view"}

    @extend_schema(request=GivenClaimSerializer, responses=CandidateSerializer(many=True))
    def post(self, request: Request) -> Response:
        """The orders that images of this identity could belong to, the best first."""
        viewer = viewer_of(request)
        asked = GivenClaimSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        facts = dict(asked.validated_data)
        site = visible_to(Site.objects.select_related("default_issuer"), viewer, "exceptions.view").earliest("pk")
        claim = IdentityClaim(study=Study(study_instance_uid=facts.pop("study_instance_uid"), site=site), **facts)
        steps = {step.pk: step for step in selectors.steps_for(claim)}
        outcome = match(
            selectors.claim_of(claim), [selectors.candidate_of(step, for_study=0) for step in steps.values()]
        )
        ranked = reconcile.described(outcome, steps)
        record_access(viewer, "exceptions.view", "candidates", address=request.META.get("REMOTE_ADDR"))
        return Response(shown(ranked, viewer))
