"""Lists are {count, next, previous, results}: keyset pages, so that page 1,000 is as fast as page 1."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator.models.search import FEW

if TYPE_CHECKING:
    # Imported by rest_framework.views itself, through the settings.
    from rest_framework.views import APIView

EXACT_TO = FEW


class KeysetPagination(CursorPagination):
    """`count` is exact to 10,000; beyond, it is 10,000 and `count_is_estimate` says so."""

    ordering = "-pk"
    page_size_query_param = "page_size"
    max_page_size = 1000

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: "APIView | None" = None
    ) -> list[Any] | None:
        if not isinstance(queryset, QuerySet):
            raise TypeError("Keyset pages need a queryset.")
        # Of a name that more have than that, they were counted when it was looked up.
        beyond = "beyond_few" in queryset.query.annotations
        self._count = EXACT_TO + 1 if beyond else queryset.order_by().values("pk")[: EXACT_TO + 1].count()
        return super().paginate_queryset(queryset, request, view)

    def get_paginated_response(self, data: Any) -> Response:
        body: dict[str, Any] = {
            "count": min(self._count, EXACT_TO),
            "next": self.get_next_link(),
            "previous": self.get_previous_link(),
            "results": data,
        }
        if self._count > EXACT_TO:
            body["count_is_estimate"] = True
        return Response(body)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        body = super().get_paginated_response_schema(schema)
        body["properties"]["count"] = {"type": "integer", "description": f"Exact to {EXACT_TO}."}
        body["properties"]["count_is_estimate"] = {"type": "boolean"}
        return body
