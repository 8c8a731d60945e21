"""users/, tokens/, sites/ and audit/"""

from typing import Any
from zoneinfo import available_timezones

from django.contrib.auth.password_validation import validate_password
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator import selectors
from orchestrator.api.errors import Conflict
from orchestrator.api.resources import Resource, looking
from orchestrator.filters import AccessFilter
from orchestrator.models import AccessEvent, ApiToken, Issuer, Role, RoleAssignment, Site, User
from orchestrator.permissions import may_manage, visible_to
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


class ChangedUserSerializer(serializers.ModelSerializer[User]):
    password = serializers.CharField(write_only=True, validators=[validate_password], required=False)

    class Meta:
        model = User
        fields = ("first_name", "last_name", "is_active", "password")


class UserResource(Resource[User]):
    """Who may come in, and with which roles where."""

    queryset = User.objects.all()
    serializer_class = UserSerializer
    required_actions = {
        **looking("users.view"),
        **dict.fromkeys(("create", "partial_update", "roles", "remove_role"), "users.edit"),
    }

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

    @extend_schema(request=ChangedUserSerializer, responses=UserSerializer)
    def partial_update(self, request: Request, **_kwargs: Any) -> Response:
        """Change names, whether they may come in (`is_active`), or the password."""
        user = self.get_object()
        if not may_manage(self.viewer, user):
            raise PermissionDenied("This person has roles at sites that you do not look after.")
        asked = ChangedUserSerializer(user, data=request.data, partial=True)
        asked.is_valid(raise_exception=True)
        try:
            users.change_user(user=user, **asked.validated_data)
        except users.LastAdministrator as refusal:
            raise Conflict(str(refusal)) from refusal
        return Response(UserSerializer(self.get_object()).data)

    @extend_schema(request=RoleSerializer, responses=UserSerializer)
    @action(detail=True, methods=["post"])
    def roles(self, request: Request, **_kwargs: Any) -> Response:
        """Give one more role, at one site or (null) at all."""
        user = self.get_object()
        role, site = self._role()
        users.assign_role(user=user, role=role, site=site)
        return Response(UserSerializer(self.get_object()).data)

    @extend_schema(request=RoleSerializer, responses=UserSerializer)
    @action(detail=True, methods=["post"], url_path="roles/remove")
    def remove_role(self, request: Request, **_kwargs: Any) -> Response:
        """Take a role away; the last administrator of all sites stays one."""
        user = self.get_object()
        role, site = self._role()
        for assignment in user.role_assignments.filter(role=role, site=site):
            try:
                users.remove_role(assignment)
            except users.LastAdministrator as refusal:
                raise Conflict(str(refusal)) from refusal
        return Response(UserSerializer(self.get_object()).data)

    def _role(self) -> tuple[str, Site | None]:
        asked = RoleSerializer(data=self.request.data)
        asked.is_valid(raise_exception=True)
        site = asked.validated_data["site"]
        # A role at all sites (no site) is given and taken by those who look after all.
        self.require("users.edit", site.pk if site else 0)
        return asked.validated_data["role"], site


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
    time_zone = serializers.ChoiceField(choices=sorted(available_timezones()), default="UTC")
    default_issuer = serializers.SlugRelatedField(
        slug_field="namespace", queryset=Issuer.objects.all(), allow_null=True, required=False
    )

    class Meta:
        model = Site
        fields = ("id", "code", "name", "time_zone", "default_issuer")


class SiteResource(Resource[Site]):
    """The hospitals and practices where the viewer has a role."""

    queryset = Site.objects.all()
    serializer_class = SiteSerializer
    required_actions = {**looking("sites.view"), "create": "sites.edit", "partial_update": "sites.edit"}

    def get_queryset(self) -> QuerySet[Site]:
        return visible_to(Site.objects.select_related("default_issuer"), self.viewer, "sites.view")

    def create(self, request: Request, **_kwargs: Any) -> Response:
        """One more site: for those who look after all."""
        self.require("sites.edit", 0)
        asked = self.get_serializer(data=request.data)
        asked.is_valid(raise_exception=True)
        asked.save()
        return Response(asked.data, status=201)

    def partial_update(self, request: Request, **_kwargs: Any) -> Response:
        """Change its name, time zone or default issuer. A new zone holds for steps that are scheduled from now on."""
        site = self.get_object()
        self.require("sites.edit", site.pk)
        asked = self.get_serializer(site, data=request.data, partial=True)
        asked.is_valid(raise_exception=True)
        asked.save()
        return Response(asked.data)


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
