"""deliveries/, and studies/…/send/"""

from typing import Any

import django_filters as filters
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orchestrator.api.authentication import viewer_of
from orchestrator.api.errors import Conflict
from orchestrator.api.jobs import JobSerializer
from orchestrator.api.resources import ReasonSerializer, Resource, looking
from orchestrator.filters import KeyFilter, StateFilter
from orchestrator.models import Study, User
from orchestrator.permissions import require, visible_to
from orchestrator.selectors import studies
from orchestrator.services.bulk import MOST_ROWS, start
from orchestrator.states import ACQUISITIONS, DeliveryStatus, Identity
from routing import selectors
from routing.models import Delivery, Destination
from routing.services import deliver
from routing.services.bulk import EVENTS, seen_of
from routing.services.route import send_study


class DeliveryFilter(filters.FilterSet):
    status = StateFilter(choices=DeliveryStatus.choices)
    destination = KeyFilter(field_name="destination_id")
    study_instance_uid = filters.CharFilter(field_name="study__study_instance_uid")

    class Meta:
        model = Delivery
        fields: tuple[str, ...] = ()


class DestinationBrief(serializers.ModelSerializer[Destination]):
    """A destination inside another resource."""

    class Meta:
        model = Destination
        fields = ("id", "name", "ae_title")


class CountsSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField()
    sent = serializers.IntegerField()
    committed = serializers.IntegerField(default=0)
    failed = serializers.IntegerField()


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    study_instance_uid = serializers.CharField(source="study.study_instance_uid")
    destination = DestinationBrief()
    rule_set_version = serializers.IntegerField(source="version.number", allow_null=True, default=None)
    instances = CountsSerializer(source="*")

    class Meta:
        model = Delivery
        fields = (
            "id", "study_instance_uid", "destination", "rendition", "status", "priority", "attempts",
            "next_attempt_at", "last_error", "rule", "rule_set_version", "instances", "created_at", "finished_at",
        )  # fmt: skip


class BulkSerializer(ReasonSerializer):
    action = serializers.ChoiceField(choices=sorted(EVENTS))
    # Which: as the list's filters are given. Nothing given means nothing, not all.
    filter = serializers.DictField(child=serializers.CharField(), allow_empty=False)

    def validate_filter(self, given: dict[str, str]) -> dict[str, str]:
        """Only what narrows: a page of the list does not, and an empty value neither."""
        if unknown := sorted(set(given) - set(DeliveryFilter.base_filters)):
            raise serializers.ValidationError(f"There is no such filter: {', '.join(unknown)}.")
        if not all(given.values()):
            raise serializers.ValidationError("A filter without a value would mean all.")
        return given


class DeliveryResource(Resource[Delivery]):
    """Studies on their way to destinations."""

    queryset = Delivery.objects.all()
    serializer_class = DeliverySerializer
    filterset_class = DeliveryFilter
    required_actions = {
        **looking("deliveries.view"), "retry": "deliveries.operate", "cancel": "deliveries.operate",
        "bulk": "deliveries.operate",
    }  # fmt: skip
    subject_type = "delivery"

    def get_queryset(self) -> QuerySet[Delivery]:
        return selectors.deliveries(self.viewer)

    @extend_schema(request=ReasonSerializer, responses=DeliverySerializer)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, **_kwargs: Any) -> Response:
        """Try a failed or canceled delivery again, from where it stopped."""
        delivery, reason = self._asked()
        deliver.retry(delivery, reason=reason)
        return Response(DeliverySerializer(self.get_object()).data)

    @extend_schema(request=ReasonSerializer, responses=DeliverySerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, **_kwargs: Any) -> Response:
        """Send no more of it."""
        delivery, reason = self._asked()
        deliver.cancel(delivery, reason=reason)
        return Response(DeliverySerializer(self.get_object()).data)

    @extend_schema(request=BulkSerializer, responses={202: JobSerializer})
    @action(detail=False, methods=["post"])
    def bulk(self, request: Request, **_kwargs: Any) -> Response:
        """Retry or cancel all that match a filter: a background job, with a result per delivery."""
        asked = BulkSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        act, reason = asked.validated_data["action"], asked.validated_data["reason"]
        mine = visible_to(Delivery.objects.order_by("pk"), self.viewer, "deliveries.operate")
        rows = self._chosen(mine, asked.validated_data["filter"]).values_list("pk", "status")
        frozen = list(rows[: MOST_ROWS + 1])
        if len(frozen) > MOST_ROWS:
            raise Conflict(f"More than {MOST_ROWS} deliveries match: narrow the filter.")
        parameters = {"act": act, "reason": reason, "row_url": "delivery", "row_name": "Delivery "}
        job = start(
            "routing.services.bulk.operate", title=f"{act.capitalize()} {len(frozen)} deliveries", owner=self.user,
            rows=[(key, seen_of(status)) for key, status in frozen], parameters=parameters,
        )  # fmt: skip
        return Response(JobSerializer(job).data, status=202)

    def _asked(self) -> tuple[Delivery, str]:
        delivery = self.get_object()
        self.require("deliveries.operate", delivery.study.site_id)
        asked = ReasonSerializer(data=self.request.data)
        asked.is_valid(raise_exception=True)
        return delivery, asked.validated_data["reason"]


class SendSerializer(ReasonSerializer):
    destinations = serializers.PrimaryKeyRelatedField(queryset=Destination.objects.all(), many=True, allow_empty=False)
    series = serializers.ListField(
        child=serializers.CharField(max_length=64), required=False, help_text="Series Instance UIDs; without them all."
    )


class Send(APIView):
    """A person sends a matched study somewhere, beside the rules."""

    required_actions = {"post": "studies.send"}

    @extend_schema(request=SendSerializer, responses=DeliverySerializer(many=True))
    def post(self, request: Request, study_instance_uid: str) -> Response:
        """Queue a delivery to each destination; what a destination has already is not sent again."""
        viewer = viewer_of(request)
        study = get_object_or_404(studies(viewer), study_instance_uid=study_instance_uid)
        require(viewer, "studies.send", study.site_id)
        asked = SendSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        _check_series(study, asked.validated_data.get("series", []))
        if not study.claims.filter(identity=Identity.MATCHED, purpose__in=ACQUISITIONS).exists():
            raise Conflict("Nothing of this study is matched: what is held does not leave.")
        made = send_study(study=study, user=User.objects.get(pk=viewer.user_id), **asked.validated_data)
        rows = selectors.with_counts(Delivery.objects.filter(pk__in=[each.pk for each in made]))
        return Response(DeliverySerializer(rows.select_related("study", "destination", "version"), many=True).data)


def _check_series(study: Study, uids: list[str]) -> None:
    known = set(study.series.filter(series_instance_uid__in=uids).values_list("series_instance_uid", flat=True))
    if unknown := sorted(set(uids) - known):
        raise serializers.ValidationError({"series": f"This study has no series {', '.join(unknown)}."})
