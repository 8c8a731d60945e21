"""rule-sets/: drafts, versions, and why a study goes where it goes"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator.api.errors import Conflict
from orchestrator.api.resources import Resource, looking
from orchestrator.audit import record_access
from orchestrator.datasets import Unreadable, read_header
from orchestrator.permissions import require_everywhere
from orchestrator.selectors import studies
from routing import selectors
from routing.models import RuleSet, RuleSetVersion
from routing.rules import FIELDS, OPERATORS, Reason, RuleError, evaluate
from routing.services import rulesets
from routing.services.route import facts_of, facts_of_object


class RuleSetSerializer(serializers.ModelSerializer[RuleSet]):
    published_version = serializers.IntegerField(source="published.number", allow_null=True, default=None)

    class Meta:
        model = RuleSet
        fields = ("id", "name", "draft", "published_version")


class VersionSerializer(serializers.ModelSerializer[RuleSetVersion]):
    version = serializers.IntegerField(source="number")
    published_by = serializers.CharField(source="published_by.username")

    class Meta:
        model = RuleSetVersion
        fields = ("version", "rules", "comment", "published_by", "published_at", "rolled_back_to")


class DraftSerializer(serializers.Serializer[Any]):
    rules = serializers.ListField(child=serializers.DictField())


class PublishSerializer(serializers.Serializer[Any]):
    comment = serializers.CharField(max_length=2000)


class RollBackSerializer(PublishSerializer):
    version = serializers.IntegerField()


class EvaluateSerializer(serializers.Serializer[Any]):
    study_instance_uid = serializers.CharField(required=False)
    file = serializers.FileField(required=False, help_text="A DICOM file (PS3.10), as multipart/form-data.")
    draft = serializers.BooleanField(default=False, help_text="Ask the draft instead of the published version.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("study_instance_uid" in attrs) == ("file" in attrs):
            raise serializers.ValidationError("Either a study_instance_uid or a file is needed.")
        return attrs


_Version = inline_serializer("PublishedVersion", {"version": serializers.IntegerField()})
_Fields = inline_serializer(
    "RuleField",
    {
        "field": serializers.CharField(),
        "label": serializers.CharField(),
        "type": serializers.CharField(),
        "operators": serializers.ListField(child=serializers.CharField()),
    },
    many=True,
)
_Difference = inline_serializer(
    "Difference",
    {
        "added": serializers.ListField(child=serializers.DictField()),
        "removed": serializers.ListField(child=serializers.DictField()),
        "changed": serializers.ListField(child=serializers.DictField()),
    },
)
_Plan = inline_serializer(
    "Plan",
    {
        "claim": serializers.IntegerField(allow_null=True),
        "sends": serializers.ListField(child=serializers.DictField()),
        "keep": serializers.BooleanField(),
        "reasons": serializers.DictField(),
    },
    many=True,
)


def _told(reason: Reason) -> dict[str, Any]:
    return {"passed": reason.passed, "text": reason.text, "children": [_told(each) for each in reason.children]}


class RuleSetResource(Resource[RuleSet]):
    """Rules that are edited as a draft and published as versions that never change."""

    queryset = RuleSet.objects.all()
    serializer_class = RuleSetSerializer
    required_actions = {
        **looking("routing.view"),
        **dict.fromkeys(("fields", "versions", "diff", "evaluate"), "routing.view"),
        "draft": "routing.edit",
        **dict.fromkeys(("publish", "rollback"), "routing.publish"),
    }

    def get_queryset(self) -> QuerySet[RuleSet]:
        return selectors.rule_sets()

    @extend_schema(responses=_Fields, filters=False)
    @action(detail=False, pagination_class=None)
    def fields(self, request: Request, **_kwargs: Any) -> Response:
        """What a condition may ask, and how."""
        return Response(
            [
                {
                    "field": name,
                    "label": field.label,
                    "type": field.kind,
                    "operators": list(field.operators),
                    "operator_labels": {each: OPERATORS[each] for each in field.operators},
                }
                for name, field in FIELDS.items()
            ]
        )

    @extend_schema(request=DraftSerializer, responses=RuleSetSerializer)
    @action(detail=True, methods=["put"])
    def draft(self, request: Request, **_kwargs: Any) -> Response:
        """Replace the draft."""
        require_everywhere(self.viewer, "routing.edit")
        asked = DraftSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            rulesets.save_draft(rule_set=self.get_object(), rules=asked.validated_data["rules"])
        except rulesets.Invalid as error:
            raise serializers.ValidationError(dict(error.problems)) from error
        return Response(RuleSetSerializer(self.get_object()).data)

    @extend_schema(request=PublishSerializer, responses=_Version)
    @action(detail=True, methods=["post"])
    def publish(self, request: Request, **_kwargs: Any) -> Response:
        """The draft becomes the next version, in force from now on."""
        require_everywhere(self.viewer, "routing.publish")
        asked = PublishSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            version = rulesets.publish(rule_set_id=self.get_object().pk, user=self.user, **asked.validated_data)
        except rulesets.Invalid as error:
            raise serializers.ValidationError(dict(error.problems)) from error
        return Response({"version": version.number})

    @extend_schema(request=RollBackSerializer, responses=_Version)
    @action(detail=True, methods=["post"])
    def rollback(self, request: Request, **_kwargs: Any) -> Response:
        """An older version's rules become the next version."""
        require_everywhere(self.viewer, "routing.publish")
        asked = RollBackSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        rule_set, facts = self.get_object(), asked.validated_data
        self._version(rule_set, facts["version"])
        try:
            version = rulesets.roll_back(
                rule_set_id=rule_set.pk, number=facts["version"], comment=facts["comment"], user=self.user
            )
        except rulesets.Invalid as error:
            raise serializers.ValidationError(dict(error.problems)) from error
        return Response({"version": version.number})

    @extend_schema(responses=VersionSerializer(many=True), filters=False)
    @action(detail=True, pagination_class=None)
    def versions(self, request: Request, **_kwargs: Any) -> Response:
        """All versions, the newest first."""
        rows = self.get_object().versions.select_related("published_by").order_by("-number")
        return Response(VersionSerializer(rows, many=True).data)

    @extend_schema(responses=_Difference, filters=False)
    @action(detail=True, url_path=r"versions/(?P<number>\d+)/diff", pagination_class=None)
    def diff(self, request: Request, number: str, **_kwargs: Any) -> Response:
        """What version `number` has against `?with=` another: rules by name."""
        rule_set = self.get_object()
        other = request.query_params.get("with", "")
        if not other.isdecimal():
            raise serializers.ValidationError({"with": "The number of another version is needed."})
        new = {rule["name"]: rule for rule in self._version(rule_set, int(number)).rules}
        old = {rule["name"]: rule for rule in self._version(rule_set, int(other)).rules}
        return Response(
            {
                "added": [rule for name, rule in new.items() if name not in old],
                "removed": [rule for name, rule in old.items() if name not in new],
                "changed": [
                    {"before": old[name], "after": rule}
                    for name, rule in new.items()
                    if name in old and old[name] != rule
                ],
            }
        )

    def _version(self, rule_set: RuleSet, number: int) -> RuleSetVersion:
        version = rule_set.versions.filter(number=number).first()
        if version is None:
            raise NotFound(f"There is no version {number}.")
        return version

    @extend_schema(request=EvaluateSerializer, responses=_Plan)
    @action(detail=True, methods=["post"])
    def evaluate(self, request: Request, **_kwargs: Any) -> Response:
        """Where the rules would send a study, or one with only this object, and why; nothing is sent or kept."""
        rule_set = self.get_object()
        asked = EvaluateSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        facts = asked.validated_data
        if rule_set.published is None and not facts["draft"]:
            raise Conflict("No version is published.")
        rules = rule_set.draft if facts["draft"] or rule_set.published is None else rule_set.published.rules
        if "file" in facts:
            return Response([_plan(rules, _facts_of_upload(facts["file"]), None)])
        found = studies(self.viewer).select_related("site")
        study = found.filter(study_instance_uid=facts["study_instance_uid"]).first()
        if study is None:
            raise NotFound("There is no such study.")
        address = request.META.get("REMOTE_ADDR")
        record_access(self.viewer, "studies.view", "study", subject_id=str(study.pk), address=address)
        claims = study.claims.select_related("order__visit", "procedure")
        return Response([_plan(rules, facts_of(study, claim), claim.pk) for claim in claims])


def _plan(rules: list[dict[str, Any]], facts: Mapping[str, Any], claim_id: int | None) -> dict[str, Any]:
    try:
        plan = evaluate(rules, facts)
    except RuleError as error:
        raise Conflict(str(error)) from error
    sends = [{"destination": s.destination, "priority": s.priority, "rule": s.rule} for s in plan.sends]
    reasons = {name: _told(reason) for name, reason in plan.reasons.items()}
    return {"claim": claim_id, "sends": sends, "keep": plan.keep, "reasons": reasons}


def _facts_of_upload(upload: "UploadedFile[Any]") -> dict[str, Any]:
    """What an object says by itself. Hostile: read only as far as it must be, and from a file of ours."""
    try:
        if isinstance(upload, TemporaryUploadedFile):
            return facts_of_object(read_header(Path(upload.temporary_file_path())))
        with tempfile.NamedTemporaryFile() as copy:
            copy.write(upload.read())  # small: Django keeps it in memory
            copy.flush()
            return facts_of_object(read_header(Path(copy.name)))
    except Unreadable as error:
        raise serializers.ValidationError({"file": "This is not a DICOM file that can be read."}) from error
