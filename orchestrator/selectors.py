"""What pages and the API read. Whatever carries PHI takes the viewer and goes through `visible_to`."""

import datetime as dt
from collections.abc import Mapping, Sequence

from django.db.models import Case, CharField, Count, Prefetch, Q, QuerySet, Value, When
from django.utils import timezone

from orchestrator.models import ExceptionCase, PatientIdentifier
from orchestrator.permissions import Viewer, visible_to
from orchestrator.states import CASE_OPEN, CASE_WAITING, CaseStatus

CLOSED_DAYS = 30
NOBODY = "none"

CASE_VIEWS: Mapping[str, str] = {
    "open": "All open", "mine": "Mine", "unassigned": "Unassigned", "snoozed": "Snoozed", "closed": "Closed",
}  # fmt: skip


def cases(viewer: Viewer, view: str = "open") -> QuerySet[ExceptionCase]:
    """The exceptions that the viewer may see, of one of CASE_VIEWS."""
    queryset = visible_to(ExceptionCase.objects.all(), viewer, "exceptions.view")
    if view == "closed":
        since = timezone.now() - dt.timedelta(days=CLOSED_DAYS)
        return queryset.exclude(status__in=CASE_OPEN).filter(resolved_at__gte=since)
    if view == "snoozed":
        return queryset.filter(status=CaseStatus.SNOOZED)
    queryset = queryset.filter(status__in=CASE_WAITING)
    if view == "mine":
        return queryset.filter(owner_id=viewer.user_id)
    return queryset.filter(owner=None) if view == "unassigned" else queryset


def due_filter(bucket: str) -> Q:
    """Cases by when somebody should have looked: over, hour, day, later."""
    now = timezone.now()
    hour, day = now + dt.timedelta(hours=1), now + dt.timedelta(days=1)
    return {
        "over": Q(due_at__lt=now),
        "hour": Q(due_at__gte=now, due_at__lt=hour),
        "day": Q(due_at__gte=hour, due_at__lt=day),
    }.get(bucket, Q(due_at__gte=day))


def count_cases(queryset: QuerySet[ExceptionCase]) -> Sequence[tuple[Mapping[str, str], int]]:
    """How many cases there are with each combination of what they can be filtered by: one grouped query."""
    due = Case(
        *(When(due_filter(bucket), then=Value(bucket)) for bucket in ("over", "hour", "day")),
        default=Value("later"),
        output_field=CharField(),
    )
    groups = (
        queryset.annotate(due=due)
        .values_list("kind", "site_id", "modality", "source", "owner_id", "due")
        .annotate(Count("pk"))
        .order_by()
    )
    return [
        (
            {
                "kind": kind, "site": str(site), "modality": modality or NOBODY, "source": source or NOBODY,
                "owner": str(owner or NOBODY), "due": bucket,
            },
            number,
        )
        for kind, site, modality, source, owner, bucket, number in groups
    ]  # fmt: skip


def filter_cases(queryset: QuerySet[ExceptionCase], chosen: Mapping[str, str]) -> QuerySet[ExceptionCase]:
    """The cases with these values of `count_cases`."""
    for name, value in chosen.items():
        if name == "due":
            queryset = queryset.filter(due_filter(value))
        elif name in ("site", "owner"):
            queryset = queryset.filter(**{f"{name}_id": int(value) if value.isdecimal() else None})
        elif name in ("kind", "modality", "source"):
            queryset = queryset.filter(**{name: "" if value == NOBODY else value})
    return queryset


def queue_rows(queryset: QuerySet[ExceptionCase]) -> QuerySet[ExceptionCase]:
    """With what a row of the queue shows."""
    return queryset.select_related("owner", "site", "claim", "patient", "study", "order").prefetch_related(
        Prefetch("patient__identifiers", PatientIdentifier.objects.order_by("-primary", "pk"))
    )
