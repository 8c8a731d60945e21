"""kpis/: the figures that managers steer by, for the sites of who asks."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from django.core.exceptions import BadRequest
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from orchestrator.api.authentication import viewer_of
from orchestrator.kpis import figures
from orchestrator.kpis.definitions import DEFINITIONS
from orchestrator.kpis.periods import Period
from orchestrator.models import Site
from orchestrator.permissions import visible_to
from orchestrator.services import kpi_rollups

_ASKED = ("from", "to", "by", "site", "modality", "source", "format")
_PARAMETERS = [
    OpenApiParameter("from", str, description="First day, as 2026-07-05, by the clock of each site."),
    OpenApiParameter("to", str, description="Last day, itself counted; today when it is left out."),
    OpenApiParameter("by", str, enum=figures.DIMENSIONS, description="What `breakdown` splits by; `site`."),
    OpenApiParameter("site", str, description="Its code."),
    OpenApiParameter("modality", str),
    OpenApiParameter("source", str, description="Calling AE title, or interface."),
]


class KpiValueSerializer(serializers.Serializer[Any]):
    value = serializers.FloatField(allow_null=True, help_text="Null: nothing was counted.")
    numerator = serializers.IntegerField()
    denominator = serializers.IntegerField(allow_null=True)


class KpiDaySerializer(KpiValueSerializer):
    day = serializers.DateField()


class KpiSerializer(KpiValueSerializer):
    """One KPI over a period."""

    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a field of ours, and a setting of any serializer
    unit = serializers.CharField(help_text="%, cases or s")
    target = serializers.FloatField()
    on_target = serializers.BooleanField(allow_null=True)
    definition = serializers.CharField(help_text="What counts, and how often, precisely.")
    previous = serializers.FloatField(allow_null=True, help_text="The period of the same length before.")
    counted_to = serializers.DateTimeField(help_text="All that happened before is counted; what came since, not yet.")
    by = serializers.CharField()
    series = KpiDaySerializer(many=True)
    breakdown = serializers.DictField(child=KpiValueSerializer())


class KpiListSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    results = KpiSerializer(many=True)


class KpiResource(ViewSet):
    """What is measured. What has no data yet is not here."""

    required_actions: ClassVar[Mapping[str, str]] = {"list": "kpis.view", "retrieve": "kpis.view"}
    lookup_field = "name"
    lookup_value_regex = "[a-z_]+"

    @extend_schema(operation_id="kpis_list", parameters=_PARAMETERS, responses=KpiListSerializer)
    def list(self, request: Request) -> Response:
        """All of them, each by its `name`."""
        results = _found(request, DEFINITIONS)
        return Response({"count": len(results), "next": None, "previous": None, "results": results})

    @extend_schema(parameters=_PARAMETERS, responses=KpiSerializer)
    def retrieve(self, request: Request, name: str) -> Response:
        """One of them."""
        if name not in DEFINITIONS:
            raise Http404
        return Response(_found(request, [name])[0])


def _found(request: Request, names: Iterable[str]) -> list[dict[str, Any]]:
    asked = request.query_params.dict()
    if unknown := sorted(set(asked) - set(_ASKED)):
        raise ValidationError({unknown[0]: "There is no such parameter."})
    by = asked.get("by") or "site"
    if by not in figures.DIMENSIONS:
        raise ValidationError({"by": f"One of {', '.join(figures.DIMENSIONS)}."})
    try:
        period = Period.of(asked.get("from", ""), asked.get("to", ""))
    except BadRequest as error:
        raise ValidationError({"from": str(error)}) from error
    viewer = viewer_of(request)
    sites = {site.pk: site.code for site in visible_to(Site.objects.all(), viewer, "kpis.view")}
    filters: dict[str, str] = {key: asked[key] for key in ("modality", "source") if key in asked}
    if "site" in asked:
        filters["site"] = str(_site(asked["site"], sites))
    # Asked first: what is gathered meanwhile is in the figures at least.
    counted_to = serializers.DateTimeField().to_representation(kpi_rollups.counted_to())
    found = figures.figures(viewer, names, period, by=[by], filters=filters)
    return [_written(figure, sites, counted_to) for figure in found.values()]


def _site(code: str, sites: Mapping[int, str]) -> int:
    for pk, each in sites.items():
        if each == code:
            return pk
    raise ValidationError({"site": f"There is no site {code} for you."})


def _written(figure: figures.Figure, sites: Mapping[int, str], counted_to: str | None) -> dict[str, Any]:
    def key(name: Any) -> str:
        return sites.get(name, str(name)) if figure.by == "site" else str(name)

    about = figure.definition
    return {
        "name": about.name, "label": about.label, **_value(figure.whole), "unit": about.unit, "target": figure.target,
        "on_target": None if figure.whole.value is None else not figure.missed, "definition": about.definition,
        "previous": figure.before.value, "counted_to": counted_to, "by": figure.by,
        "series": [{"day": day.isoformat(), **_value(value)} for day, value in figure.series.items()],
        "breakdown": {key(name): _value(value) for name, value in figure.breakdown.items()},
    }  # fmt: skip


def _value(value: figures.Value) -> dict[str, Any]:
    return {"value": value.value, "numerator": value.numerator, "denominator": value.denominator}
