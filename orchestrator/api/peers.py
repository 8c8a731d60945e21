"""issuers/, application-entities/ and interfaces/"""

from typing import Any

from django.core.validators import RegexValidator
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator.api.resources import Resource, looking
from orchestrator.models import ApplicationEntity, Device, HL7Application, Issuer, Site
from orchestrator.permissions import visible_to
from orchestrator.services.peers import AE_TITLE, AE_TITLE_IS, add_application_entity


class IssuerSerializer(serializers.ModelSerializer[Issuer]):
    class Meta:
        model = Issuer
        fields = ("id", "namespace", "universal_id", "universal_id_type")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Either name will do; an empty one is none."""
        for name in {"namespace", "universal_id"} & set(attrs):
            attrs[name] = attrs[name] or None
        names = [attrs.get(name, getattr(self.instance, name, None)) for name in ("namespace", "universal_id")]
        if not any(names):
            raise serializers.ValidationError({"namespace": "An issuer has a namespace, a universal id, or both."})
        return attrs


class IssuerResource(Resource[Issuer]):
    """Assigning authorities: who numbers patients. Sites, application entities and interfaces have one as default."""

    queryset = Issuer.objects.order_by("pk")
    serializer_class = IssuerSerializer
    required_actions = {**looking("sites.view"), "create": "sites.edit", "partial_update": "sites.edit"}

    def create(self, request: Request, **_kwargs: Any) -> Response:
        """One more issuer: for those who look after all sites."""
        self.require("sites.edit", 0)
        asked = self.get_serializer(data=request.data)
        asked.is_valid(raise_exception=True)
        asked.save()
        return Response(asked.data, status=201)

    def partial_update(self, request: Request, **_kwargs: Any) -> Response:
        """Give it another or a further name: the identifiers under it stay its own."""
        self.require("sites.edit", 0)
        asked = self.get_serializer(self.get_object(), data=request.data, partial=True)
        asked.is_valid(raise_exception=True)
        asked.save()
        return Response(asked.data)


class ApplicationEntitySerializer(serializers.ModelSerializer[ApplicationEntity]):
    ae_title = serializers.CharField(max_length=16, validators=[RegexValidator(AE_TITLE, AE_TITLE_IS)])
    device = serializers.CharField(source="device.name", max_length=100)
    kind = serializers.ChoiceField(source="device.kind", choices=Device.Kind.choices, default=Device.Kind.MODALITY)
    site = serializers.SlugRelatedField(source="device.site", slug_field="code", queryset=Site.objects.all())
    default_issuer = serializers.SlugRelatedField(
        slug_field="namespace", queryset=Issuer.objects.all(), allow_null=True, required=False
    )

    class Meta:
        model = ApplicationEntity
        fields = (
            "id", "ae_title", "device", "kind", "site", "host", "port", "default_issuer",
            "default_character_set", "answer_character_set", "enabled",
        )  # fmt: skip

    def validate_ae_title(self, value: str) -> str:
        known = ApplicationEntity.objects.filter(ae_title=value).first()
        if known is not None and known != self.instance:
            raise serializers.ValidationError("Another application entity has this title.")
        return value

    def create(self, validated_data: dict[str, Any]) -> ApplicationEntity:
        device = validated_data.pop("device")
        return add_application_entity(
            device_name=device["name"], kind=device["kind"], site=device["site"], **validated_data
        )

    def update(self, instance: ApplicationEntity, validated_data: dict[str, Any]) -> ApplicationEntity:
        if "device" in validated_data:
            raise serializers.ValidationError({"device": "An application entity keeps its device."})
        return super().update(instance, validated_data)


class ApplicationEntityResource(Resource[ApplicationEntity]):
    """Who may talk DICOM to us, by AE title and (when `host` is set) address."""

    queryset = ApplicationEntity.objects.all()
    serializer_class = ApplicationEntitySerializer
    required_actions = {
        **looking("interfaces.view"), "create": "interfaces.edit", "partial_update": "interfaces.edit",
    }  # fmt: skip

    def get_queryset(self) -> QuerySet[ApplicationEntity]:
        rows = ApplicationEntity.objects.select_related("device__site", "default_issuer")
        return visible_to(rows, self.viewer, "interfaces.view")

    def create(self, request: Request, **_kwargs: Any) -> Response:
        asked = self.get_serializer(data=request.data)
        asked.is_valid(raise_exception=True)
        self.require("interfaces.edit", asked.validated_data["device"]["site"].pk)
        asked.save()
        return Response(asked.data, status=201)

    def partial_update(self, request: Request, **_kwargs: Any) -> Response:
        entity = self.get_object()
        self.require("interfaces.edit", entity.device.site_id)
        asked = self.get_serializer(entity, data=request.data, partial=True)
        asked.is_valid(raise_exception=True)
        asked.save()
        return Response(asked.data)


class InterfaceSerializer(serializers.ModelSerializer[HL7Application]):
    site = serializers.SlugRelatedField(slug_field="code", queryset=Site.objects.all())
    default_issuer = serializers.SlugRelatedField(
        slug_field="namespace", queryset=Issuer.objects.all(), allow_null=True, required=False
    )

    class Meta:
        model = HL7Application
        fields = (
            "id", "name", "sending_application", "sending_facility", "site", "default_issuer", "default_charset",
            "enabled", "last_message_at",
        )  # fmt: skip
        read_only_fields = ("last_message_at",)

    def update(self, instance: HL7Application, validated_data: dict[str, Any]) -> HL7Application:
        if fixed := {"site", "sending_application", "sending_facility"} & set(validated_data):
            raise serializers.ValidationError(dict.fromkeys(fixed, "An interface keeps it: its messages stand on it."))
        return super().update(instance, validated_data)


class InterfaceResource(Resource[HL7Application]):
    """HL7 senders: each sending application and facility is one interface, whose messages keep their order."""

    queryset = HL7Application.objects.all()
    serializer_class = InterfaceSerializer
    required_actions = {
        **looking("interfaces.view"), "create": "interfaces.edit", "partial_update": "interfaces.edit",
    }  # fmt: skip

    def get_queryset(self) -> QuerySet[HL7Application]:
        rows = HL7Application.objects.select_related("site", "default_issuer")
        return visible_to(rows, self.viewer, "interfaces.view")

    def create(self, request: Request, **_kwargs: Any) -> Response:
        """A sender that may talk to us, before it does so for the first time."""
        asked = self.get_serializer(data=request.data)
        asked.is_valid(raise_exception=True)
        self.require("interfaces.edit", asked.validated_data["site"].pk)
        asked.save()
        return Response(asked.data, status=201)

    @extend_schema(responses=InterfaceSerializer)
    def partial_update(self, request: Request, **_kwargs: Any) -> Response:
        interface = self.get_object()
        self.require("interfaces.edit", interface.site_id)
        asked = self.get_serializer(interface, data=request.data, partial=True)
        asked.is_valid(raise_exception=True)
        asked.save()
        return Response(asked.data)
