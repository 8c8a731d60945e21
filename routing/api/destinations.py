"""destinations/"""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator.api.resources import ReasonSerializer, Resource, looking
from orchestrator.models import Site
from orchestrator.permissions import visible_to
from routing import selectors
from routing.models import Destination
from routing.services import deliver
from routing.services import destinations as service


class DestinationSerializer(serializers.ModelSerializer[Destination]):
    url = serializers.CharField(default="", read_only=True, help_text="Of destinations that speak HTTP.")

    site = serializers.SlugRelatedField(
        source="device.site", slug_field="code", queryset=Site.objects.all(), required=False,
        help_text="Where it stands, for good; may be left out by who looks after one site only.",
    )  # fmt: skip

    class Meta:
        model = Destination
        fields = ("id", "name", "kind", "site", "ae_title", "host", "port", "url", "required_for_custody", "paused")
        read_only_fields = ("paused",)


def _facts(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that the service takes."""
    return {name: value for name, value in asked.items() if name not in ("kind", "url", "device")}


class DestinationResource(Resource[Destination]):
    """Where studies are sent."""

    queryset = Destination.objects.all()
    serializer_class = DestinationSerializer
    required_actions = {
        **looking("destinations.view"),
        **dict.fromkeys(("create", "partial_update"), "destinations.edit"),
        **dict.fromkeys(("echo", "pause", "resume"), "destinations.operate"),
    }

    def get_queryset(self) -> QuerySet[Destination]:
        return selectors.destinations()

    def create(self, request: Request, **_kwargs: Any) -> Response:
        asked = self.get_serializer(data=request.data)
        asked.is_valid(raise_exception=True)
        facts = _facts(asked.validated_data)
        site = self._site(asked.validated_data)
        self.require("destinations.edit", site.pk)
        try:
            with transaction.atomic():
                made = service.create(site=site, **facts)
                # It may stand on a device that is known already, at another site than the one named.
                self.require("destinations.edit", made.device.site_id)
        except service.Invalid as error:
            raise serializers.ValidationError(error.problems) from error
        return Response(DestinationSerializer(made).data, status=201)

    def _site(self, asked: Mapping[str, Any]) -> Site:
        """The site that was named, else the only one that the caller looks after."""
        if "device" in asked:
            named: Site = asked["device"]["site"]
            return named
        sites = list(visible_to(Site.objects.order_by("pk"), self.viewer, "destinations.edit")[:2])
        if len(sites) != 1:
            raise serializers.ValidationError({"site": "You look after several sites: say at which one it stands."})
        return sites[0]

    def partial_update(self, request: Request, **_kwargs: Any) -> Response:
        destination = self.get_object()
        self.require("destinations.edit", destination.device.site_id)
        asked = self.get_serializer(destination, data=request.data, partial=True)
        asked.is_valid(raise_exception=True)
        if "device" in asked.validated_data:
            raise serializers.ValidationError({"site": "A destination keeps its site."})
        facts = _facts(asked.validated_data)
        try:
            service.change(destination=destination, **facts)
        except service.Invalid as error:
            raise serializers.ValidationError(error.problems) from error
        return Response(DestinationSerializer(self.get_object()).data)

    @extend_schema(
        request=None,
        responses=inline_serializer(
            "Echo",
            {
                "ok": serializers.BooleanField(),
                "milliseconds": serializers.IntegerField(),
                "error": serializers.CharField(),
            },
        ),
    )
    @action(detail=True, methods=["post"])
    def echo(self, request: Request, **_kwargs: Any) -> Response:
        """C-ECHO (PS3.7 9.1.5) to the destination, now."""
        destination = self.get_object()
        self.require("destinations.operate", destination.device.site_id)
        heard = service.echo(destination=destination)
        return Response({"ok": heard.ok, "milliseconds": heard.milliseconds, "error": heard.error})

    @extend_schema(request=ReasonSerializer, responses=DestinationSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, **_kwargs: Any) -> Response:
        """Nothing is sent there until it is resumed; its deliveries wait."""
        return self._set_paused(paused=True)

    @extend_schema(request=ReasonSerializer, responses=DestinationSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, **_kwargs: Any) -> Response:
        """What waits is sent."""
        return self._set_paused(paused=False)

    def _set_paused(self, *, paused: bool) -> Response:
        destination = self.get_object()
        self.require("destinations.operate", destination.device.site_id)
        asked = ReasonSerializer(data=self.request.data)
        asked.is_valid(raise_exception=True)
        deliver.set_paused(destination, paused=paused, reason=asked.validated_data["reason"])
        return Response(DestinationSerializer(self.get_object()).data)
