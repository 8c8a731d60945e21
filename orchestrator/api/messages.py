"""messages/"""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator.api.resources import ReasonSerializer, Resource, looking
from orchestrator.filters import MessageFilter
from orchestrator.models import InboundMessage
from orchestrator.selectors import messages
from orchestrator.services.messages import replay


class MessageSerializer(serializers.ModelSerializer[InboundMessage]):
    direction = serializers.CharField(default="in", read_only=True)
    type = serializers.CharField(source="message_type")

    class Meta:
        model = InboundMessage
        fields = (
            "id", "direction", "interface", "control_id", "type", "status", "ack_code", "received_at", "applied_at",
            "error",
        )  # fmt: skip


class MessageResource(Resource[InboundMessage]):
    """HL7 messages as they came; their text is on the portal's page."""

    queryset = InboundMessage.objects.all()
    serializer_class = MessageSerializer
    filterset_class = MessageFilter
    required_actions = {**looking("messages.view"), "replay": "messages.replay"}
    subject_type = "message"

    def get_queryset(self) -> QuerySet[InboundMessage]:
        return messages(self.viewer).defer("raw", "ack")

    @extend_schema(request=ReasonSerializer, responses=MessageSerializer)
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, **_kwargs: Any) -> Response:
        """Apply a quarantined message again."""
        message = self.get_object()
        self.require("messages.replay", message.site_id)
        asked = ReasonSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        replay(message, reason=asked.validated_data["reason"])
        return Response(MessageSerializer(self.get_object()).data)
