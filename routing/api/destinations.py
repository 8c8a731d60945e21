"""destinations/"""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator.api.resources import ReasonSerializer, Resource, looking
from routing import selectors
from routing.models import Destination
from routing.services import deliver
from routing.services import destinations as service


class DestinationSerializer(serializers.ModelSerializer[Destination]):
    url = serializers.CharField(default="", read_only=True, help_text="Of destinations that speak HTTP.")

    class Meta:
        model = Destination
        fields = ("id", "name", "kind", "ae_title", "host", "port", "url", "required_for_custody", "paused")
        read_only_fields = ("paused",)


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
        facts = {name: value for name, value in asked.validated_data.items() if name not in ("kind", "url")}
        try:
            made = service.create(**facts)
        except service.Invalid as error:
            raise serializers.ValidationError(error.problems) from error
        return Response(DestinationSerializer(made).data, status=201)

    def partial_update(self, request: Request, **_kwargs: Any) -> Response:
        destination = self.get_object()
        asked = self.get_serializer(destination, data=request.data, partial=True)
        asked.is_valid(raise_exception=True)
        facts = {name: value for name, value in asked.validated_data.items() if name not in ("kind", "url")}
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
        heard = service.echo(destination=self.get_object())
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
        asked = ReasonSerializer(data=self.request.data)
        asked.is_valid(raise_exception=True)
        deliver.set_paused(self.get_object(), paused=paused, reason=asked.validated_data["reason"])
        return Response(DestinationSerializer(self.get_object()).data)
