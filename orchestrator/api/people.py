"""users/, tokens/, sites/ and audit/"""

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator import selectors
from orchestrator.api.resources import Resource, looking
from orchestrator.filters import AccessFilter
from orchestrator.models import AccessEvent, ApiToken, Role, RoleAssignment, Site, User
from orchestrator.permissions import visible_to
from orchestrator.services import access_log, tokens, users


class RoleSerializer(serializers.ModelSerializer[RoleAssignment]):
    site = serializers.SlugRelatedField(
        slug_field="code", queryset=Site.objects.all(), allow_null=True, help_text="Null: at all sites."
    )

    class Meta:
        model = RoleAssignment
        fields = ("role", "site")


class UserSerializer(serializers.ModelSerializer[User]):
    roles = RoleSerializer(source="role_assignments", many=True, read_only=True)

    class Meta:
        model = User
        fields = ("id", "username", "first_name", "last_name", "is_active", "last_login", "roles")


class NewUserSerializer(serializers.Serializer[User]):
    username = serializers.CharField(max_length=150, validators=[User.username_validator])
    first_name = serializers.CharField(max_length=150, required=False, default="")
    last_name = serializers.CharField(max_length=150, required=False, default="")
    password = serializers.CharField(write_only=True, validators=[validate_password])
    role = serializers.ChoiceField(choices=Role.choices)
    site = serializers.SlugRelatedField(slug_field="code", queryset=Site.objects.all(), allow_null=True, default=None)

    def validate_username(self, value: str) -> str:
        if User.objects.filter(username__iexact=value).exists():
            raise serializers.ValidationError("This name is taken.")
        return value


class UserResource(Resource[User]):
    """Who may come in, and with which roles where."""

    queryset = User.objects.all()
    serializer_class = UserSerializer
    required_actions = {**looking("users.view"), "create": "users.edit"}

    def get_queryset(self) -> QuerySet[User]:
        return selectors.users(self.viewer)

    @extend_schema(request=NewUserSerializer, responses={201: UserSerializer})
    def create(self, request: Request, **_kwargs: Any) -> Response:
        asked = NewUserSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        site = asked.validated_data["site"]
        if self.viewer.sites_for("users.edit") is not None:
            # An administrator of single sites lets nobody in beyond them.
            self.require("users.edit", site.pk if site else 0)
        user = users.create_user(**asked.validated_data)
        return Response(UserSerializer(user).data, status=201)


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    class Meta:
        model = ApiToken
        fields = ("id", "name", "prefix", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at")


class NewTokenSerializer(serializers.Serializer[ApiToken]):
    name = serializers.CharField(max_length=100)
    scopes = serializers.MultipleChoiceField(choices=[tokens.READ, tokens.WRITE], default={tokens.READ})
    days = serializers.IntegerField(min_value=1, max_value=3650, default=tokens.DEFAULT_DAYS)


class TokenResource(Resource[ApiToken]):
    """One's own keys for this API. A key is shown once, in the answer to the POST that made it."""

    queryset = ApiToken.objects.all()
    serializer_class = TokenSerializer
    required_actions = {
        **looking("tokens.view"), "create": "tokens.edit", "destroy": "tokens.edit",
    }  # fmt: skip

    def get_queryset(self) -> QuerySet[ApiToken]:
        return ApiToken.objects.filter(user_id=self.viewer.user_id)

    @extend_schema(
        request=NewTokenSerializer,
        responses={201: inline_serializer("TokenKey", {"key": serializers.CharField()})},
    )
    def create(self, request: Request, **_kwargs: Any) -> Response:
        asked = NewTokenSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        scopes = tuple(sorted(asked.validated_data["scopes"]))
        key = tokens.create_token(
            user=self.user, name=asked.validated_data["name"], scopes=scopes, days=asked.validated_data["days"]
        )
        return Response({"key": key}, status=201)

    def destroy(self, request: Request, **_kwargs: Any) -> Response:
        """End a token. Cannot be taken back."""
        tokens.revoke_token(self.get_object())
        return Response(status=204)


class SiteSerializer(serializers.ModelSerializer[Site]):
    class Meta:
        model = Site
        fields = ("id", "code", "name", "time_zone")


class SiteResource(Resource[Site]):
    """The hospitals and practices where the viewer has a role."""

    queryset = Site.objects.all()
    serializer_class = SiteSerializer
    required_actions = looking("sites.view")

    def get_queryset(self) -> QuerySet[Site]:
        return visible_to(Site.objects.all(), self.viewer, "sites.view")


class AccessSerializer(serializers.ModelSerializer[AccessEvent]):
    class Meta:
        model = AccessEvent
        fields = (
            "id", "at", "user_name", "action", "subject_type", "subject_id", "address", "number_of_records", "seal",
        )  # fmt: skip


class AuditResource(Resource[AccessEvent]):
    """Who saw or changed what. Append-only."""

    queryset = AccessEvent.objects.all()
    serializer_class = AccessSerializer
    filterset_class = AccessFilter
    required_actions = {**looking("audit.view"), "verify": "audit.view"}
    subject_type = "access"

    def get_queryset(self) -> QuerySet[AccessEvent]:
        return AccessEvent.objects.all()

    @extend_schema(
        responses=inline_serializer(
            "Chain", {"holds": serializers.BooleanField(), "first_break": serializers.IntegerField(allow_null=True)}
        ),
        filters=False,
    )
    @action(detail=False, pagination_class=None, filterset_class=None)
    def verify(self, request: Request, **_kwargs: Any) -> Response:
        """Whether the chain of digests over the sealed rows holds; if not, the first row where it does not."""
        broken = access_log.first_break()
        return Response({"holds": broken is None, "first_break": broken})
