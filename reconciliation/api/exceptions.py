"""exceptions/: the queue, its candidates and what a person decides"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator.api.errors import Conflict
from orchestrator.api.resources import ReasonSerializer, Resource, looking
from orchestrator.filters import ExceptionFilter
from orchestrator.models import ExceptionCase, ImagingServiceRequest, User
from orchestrator.permissions import visible_to
from orchestrator.selectors import orders, who_may
from orchestrator.services import exceptions
from reconciliation.api.candidates import CandidateSerializer, shown
from reconciliation.models import MatchRun
from reconciliation.services import decisions
from reconciliation.services.reconcile import HELD_KINDS

_ACTS = ("claim", "hand_back", "match", "reject", "snooze", "escalate", "dismiss", "undo")


class ExceptionSerializer(serializers.ModelSerializer[ExceptionCase]):
    owner = serializers.CharField(source="owner.username", allow_null=True, default=None)
    site = serializers.CharField(source="site.code")
    study_instance_uid = serializers.SerializerMethodField(
        help_text="Of the study, or that which a performed step in doubt names, whether its study is here or not."
    )

    class Meta:
        model = ExceptionCase
        fields = (
            "id", "kind", "reason_code", "summary", "status", "owner", "site", "opened_at", "due_at", "snoozed_until",
            "resolved_at", "resolution", "study_instance_uid", "claim", "message",
        )  # fmt: skip

    def get_study_instance_uid(self, case: ExceptionCase) -> str | None:
        if case.study is not None:
            return case.study.study_instance_uid
        named: list[dict[str, str]] = case.detail.get("references") or [{}]
        return named[0].get("study_instance_uid") or None


class MatchSerializer(ReasonSerializer):
    order = serializers.PrimaryKeyRelatedField(queryset=ImagingServiceRequest.objects.none())
    sides = serializers.DictField(
        child=serializers.ChoiceField(choices=["order", "study"]),
        required=False,
        help_text="{DICOM keyword, or field as in evidence: side}",
    )
    remember = serializers.BooleanField(default=True)


class RejectSerializer(ReasonSerializer):
    code = serializers.ChoiceField(choices=list(decisions.REJECT_CODES.items()))


class SnoozeSerializer(ReasonSerializer):
    until = serializers.DateTimeField()


class EscalateSerializer(ReasonSerializer):
    to = serializers.SlugRelatedField(
        slug_field="username", queryset=User.objects.none(), allow_null=True, default=None
    )


_Kinds = inline_serializer(
    "CaseKind",
    {"kind": serializers.CharField(), "label": serializers.CharField(), "due_minutes": serializers.IntegerField()},
    many=True,
)
_Preview = inline_serializer(
    "Preview",
    {
        "changes": inline_serializer(
            "Change",
            {"attribute": serializers.CharField(), "before": serializers.CharField(), "after": serializers.CharField()},
            many=True,
        )
    },
)


class ExceptionResource(Resource[ExceptionCase]):
    """What does not align, until a person settles it."""

    queryset = ExceptionCase.objects.all()
    serializer_class = ExceptionSerializer
    filterset_class = ExceptionFilter
    required_actions = {
        **looking("exceptions.view"),
        **dict.fromkeys(("kinds", "candidates", "preview"), "exceptions.view"),
        **dict.fromkeys(_ACTS, "exceptions.resolve"),
    }
    subject_type = "case"

    def get_queryset(self) -> QuerySet[ExceptionCase]:
        rows = ExceptionCase.objects.select_related("owner", "site", "study", "claim__study__site")
        return visible_to(rows, self.viewer, "exceptions.view")

    @extend_schema(responses=_Kinds, filters=False)
    @action(detail=False, pagination_class=None, filterset_class=None)
    def kinds(self, request: Request, **_kwargs: Any) -> Response:
        """The kinds of exceptions, each with how soon a person should look."""
        known = exceptions.case_kinds()
        return Response([{"kind": name, **kind._asdict()} for name, kind in known.items()])

    @extend_schema(responses=CandidateSerializer(many=True), filters=False)
    @action(detail=True, pagination_class=None, filterset_class=None)
    def candidates(self, request: Request, **_kwargs: Any) -> Response:
        """The orders that the held images could belong to, the best first."""
        case = self.get_object()
        self.note(str(case.pk))
        run = MatchRun.objects.filter(claim=case.claim_id).order_by("-at", "-pk").first() if case.claim_id else None
        return Response(shown(run.candidates if run else [], self.viewer))

    @extend_schema(responses=_Preview, filters=False)
    @action(detail=True, pagination_class=None, filterset_class=None)
    def preview(self, request: Request, **_kwargs: Any) -> Response:
        """What `?action=match&order=ID` would change in the images that leave; other actions change nothing there.

        Nothing is written.
        """
        case = self.get_object()
        act = request.query_params.get("action", "").replace("-", "_")
        if act not in _ACTS:
            raise serializers.ValidationError({"action": f"One of {', '.join(_ACTS)}; a match with order=ID."})
        if act != "match":
            return Response({"changes": []})
        asked = serializers.PrimaryKeyRelatedField(queryset=orders(self.viewer).select_related("patient"))
        order = asked.run_validation(request.query_params.get("order"))
        try:
            changes = decisions.preview(case=case, order=order)
        except decisions.CannotDecide as error:
            raise Conflict(str(error)) from error
        return Response({"changes": [asdict(change) for change in changes]})

    @extend_schema(request=ReasonSerializer, responses=ExceptionSerializer)
    @action(detail=True, methods=["post"])
    def claim(self, request: Request, **_kwargs: Any) -> Response:
        """Make the case mine: automation leaves it alone from now on."""
        return self._act(ReasonSerializer, lambda pk, asked: exceptions.claim_case(pk, user=self.user, **asked))

    @extend_schema(request=ReasonSerializer, responses=ExceptionSerializer)
    @action(detail=True, methods=["post"], url_path="hand-back")
    def hand_back(self, request: Request, **_kwargs: Any) -> Response:
        """Give the case back to the queue."""
        return self._act(ReasonSerializer, lambda pk, asked: exceptions.hand_back(pk, user=self.user, **asked))

    @extend_schema(request=MatchSerializer, responses=ExceptionSerializer)
    @action(detail=True, methods=["post"])
    def match(self, request: Request, **_kwargs: Any) -> Response:
        """The held images belong to this order."""
        return self._act(MatchSerializer, self._match)

    def _match(self, pk: int, asked: dict[str, Any]) -> None:
        order = asked.pop("order")
        decisions.match(case_id=pk, order_id=order.pk, user=self.user, **asked)

    @extend_schema(request=RejectSerializer, responses=ExceptionSerializer)
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, **_kwargs: Any) -> Response:
        """The held images belong nowhere: they stay here and go nowhere."""
        return self._act(RejectSerializer, lambda pk, asked: decisions.reject(case_id=pk, user=self.user, **asked))

    @extend_schema(request=SnoozeSerializer, responses=ExceptionSerializer)
    @action(detail=True, methods=["post"])
    def snooze(self, request: Request, **_kwargs: Any) -> Response:
        """Out of sight until then; the due time stands."""
        return self._act(SnoozeSerializer, lambda pk, asked: exceptions.snooze(pk, user=self.user, **asked))

    @extend_schema(request=EscalateSerializer, responses=ExceptionSerializer)
    @action(detail=True, methods=["post"])
    def escalate(self, request: Request, **_kwargs: Any) -> Response:
        """Mark the case as needing more than one person can decide."""
        return self._act(EscalateSerializer, lambda pk, asked: exceptions.escalate(pk, user=self.user, **asked))

    @extend_schema(request=ReasonSerializer, responses=ExceptionSerializer)
    @action(detail=True, methods=["post"])
    def dismiss(self, request: Request, **_kwargs: Any) -> Response:
        """Settle without doing anything; held images are matched or rejected instead."""
        if self.get_object().kind in HELD_KINDS:
            raise Conflict("Held images are matched or rejected, not dismissed.")
        return self._act(ReasonSerializer, lambda pk, asked: exceptions.dismiss(pk, user=self.user, **asked))

    @extend_schema(request=ReasonSerializer, responses=ExceptionSerializer)
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, **_kwargs: Any) -> Response:
        """Take the case's decision back: what was not sent yet will not be sent."""
        return self._act(ReasonSerializer, lambda pk, asked: decisions.undo(case_id=pk, user=self.user, **asked))

    def _act(self, form: type[serializers.Serializer[Any]], write: Callable[[int, dict[str, Any]], object]) -> Response:
        case = self.get_object()
        self.require("exceptions.resolve", case.site_id)
        asked = form(data=self.request.data)
        if "order" in asked.fields:
            # Only orders that the viewer may see: of no other does this tell that it exists.
            asked.fields["order"].queryset = orders(self.viewer)  # type: ignore[attr-defined]  # a related field
        if "to" in asked.fields:
            # Who could not open the case is no owner of it; nor does this tell who exists elsewhere.
            asked.fields["to"].queryset = who_may("exceptions.resolve", case.site)  # type: ignore[attr-defined]
        asked.is_valid(raise_exception=True)
        try:
            write(case.pk, dict(asked.validated_data))
        except (decisions.AlreadyDecided, decisions.CannotDecide) as error:
            raise Conflict(str(error)) from error
        self.note(str(case.pk))
        return Response(ExceptionSerializer(self.get_object()).data)
