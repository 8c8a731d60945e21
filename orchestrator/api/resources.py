"""What every resource of the REST API does alike: scope, filters, search by POST, a record of what was seen."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from django.db.models import Model, QuerySet
from django_filters import FilterSet
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from orchestrator.api.authentication import viewer_of
from orchestrator.audit import record_access
from orchestrator.models import Actor, ActorKind, User, act_as
from orchestrator.permissions import Viewer, require

M = TypeVar("M", bound=Model)

_PAGING = frozenset({"cursor", "page_size", "format"})


def looking(needed: str) -> dict[str, str]:
    """The actions that only look, for `required_actions`."""
    return dict.fromkeys(("list", "search", "retrieve"), needed)


class ReasonSerializer(serializers.Serializer[Any]):
    """Why: it stands in the history of what is touched."""

    reason = serializers.CharField(max_length=500)


class Resource(GenericViewSet[M]):
    """A list and its members. Subclasses give a scoped queryset, a serializer and, to be filtered, a filter set."""

    required_actions: ClassVar[Mapping[str, str]] = {}
    filterset_class: type[FilterSet] | None = None
    # What the record of access calls it; empty where nothing of a patient is shown.
    subject_type = ""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        user = self.user
        act_as(Actor(ActorKind.USER, user.get_username(), user.pk))

    @property
    def viewer(self) -> Viewer:
        return viewer_of(self.request)

    @property
    def user(self) -> User:
        user = self.request.user
        if not isinstance(user, User):
            raise TypeError("ActionPermission lets nobody in without a user.")
        return user

    def require(self, needed: str, site_id: int | None) -> None:
        require(self.viewer, needed, site_id)

    def note(self, subject_id: str = "", number: int = 1) -> None:
        """Record that the viewer saw this."""
        if self.subject_type:
            record_access(
                self.viewer,
                self.required_actions.get(self.action, ""),
                self.subject_type,
                subject_id=subject_id,
                address=self.request.META.get("REMOTE_ADDR"),
                number_of_records=number,
            )

    def list(self, request: Request, **_kwargs: Any) -> Response:
        return self._page(request.query_params.dict())

    @action(detail=False, methods=["post"])
    def search(self, request: Request, **_kwargs: Any) -> Response:
        """The list, with the filters in the body: no proxy logs them."""
        if not isinstance(request.data, dict):
            raise ValidationError({"": "An object with the list's filters is needed."})
        if paging := _PAGING & set(request.data):
            raise ValidationError(dict.fromkeys(paging, "Stands in the address, as in `next`."))
        return self._page({**request.query_params.dict(), **request.data})

    def retrieve(self, request: Request, **_kwargs: Any) -> Response:
        found = self.get_object()
        self.note(str(found.pk))
        return Response(self.get_serializer(found).data)

    def _page(self, asked: dict[str, Any]) -> Response:
        page = self.paginate_queryset(self._chosen(self.get_queryset(), asked)) or []
        self.note(number=len(page))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def _chosen(self, rows: QuerySet[M], asked: dict[str, Any]) -> QuerySet[M]:
        """A filter that is not known must not silently give the whole list."""
        known = self.filterset_class.base_filters if self.filterset_class else {}
        unknown = {name: "This list has no such filter." for name in asked if name not in known and name not in _PAGING}
        if unknown:
            raise ValidationError(unknown)
        if self.filterset_class is None:
            return rows
        chosen = self.filterset_class(data=asked, queryset=rows, request=self.request)
        if not chosen.is_valid():
            raise ValidationError(chosen.errors)
        return chosen.qs
