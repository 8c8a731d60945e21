"""What the lists of the REST API can be asked for; each name is a promise to scripts."""

from typing import Any

import django_filters as filters
from django import forms
from django.db.models import Q, QuerySet

from orchestrator.models import (
    AccessEvent,
    ExceptionCase,
    IdentityClaim,
    ImagingServiceRequest,
    InboundMessage,
    Job,
    Patient,
    Study,
)
from orchestrator.selectors import named
from orchestrator.states import CASE_OPEN, CaseStatus, Custody, Identity, InboundStatus, JobStatus

Rows = QuerySet[Any]
_LARGEST_KEY = 2**63 - 1


class _StateField(forms.ChoiceField):
    """A state in any case: scripts write `held` as well as `HELD`."""

    def to_python(self, value: Any) -> Any:
        return super().to_python(value).upper()


class StateFilter(filters.ChoiceFilter):
    field_class = _StateField


class KeyFilter(filters.NumberFilter):
    """A row id: what no database could hold is refused."""

    def __init__(self, **more: Any) -> None:
        super().__init__(min_value=1, max_value=_LARGEST_KEY, **more)


class PatientFilter(filters.FilterSet):
    identifier = filters.CharFilter(method="by_identifier", help_text="ID or ID^ISSUER, whole.")
    name = filters.CharFilter(
        method="by_name", help_text="Words of the name or their beginnings, in any order, without accents."
    )

    class Meta:
        model = Patient
        fields: tuple[str, ...] = ()

    def by_identifier(self, rows: Rows, _name: str, value: str) -> Rows:
        number, _, issuer = value.partition("^")
        wanted = Q(identifiers__value=number)
        if issuer:
            wanted &= Q(identifiers__issuer__namespace=issuer) | Q(identifiers__issuer__universal_id=issuer)
        return rows.filter(pk__in=Patient.objects.filter(wanted).values("pk"))

    def by_name(self, rows: Rows, _name: str, value: str) -> Rows:
        return named(rows, value)


class OrderFilter(filters.FilterSet):
    accession_number = filters.CharFilter()
    placer_order_number = filters.CharFilter()
    filler_order_number = filters.CharFilter()
    patient = KeyFilter(field_name="patient_id")

    class Meta:
        model = ImagingServiceRequest
        fields: tuple[str, ...] = ()


class StudyFilter(filters.FilterSet):
    study_instance_uid = filters.CharFilter()
    accession_number = filters.CharFilter(method="by_accession", help_text="As received, or of the matched order.")
    identity = StateFilter(choices=Identity.choices)
    custody = StateFilter(choices=Custody.choices)

    class Meta:
        model = Study
        fields: tuple[str, ...] = ()

    def by_accession(self, rows: Rows, _name: str, value: str) -> Rows:
        # Each looked up in its own index: an OR of two tables would read both whole.
        said, ordered = (
            IdentityClaim.objects.filter(**{f"{of}accession_number": value}).values("study") for of in ("", "order__")
        )
        return rows.filter(pk__in=said.union(ordered))


class ExceptionFilter(filters.FilterSet):
    status = StateFilter(
        choices=CaseStatus.choices, method="by_status", help_text="`open` stands for all that are not settled."
    )
    kind = filters.CharFilter()
    owner = filters.CharFilter(field_name="owner__username")
    study_instance_uid = filters.CharFilter(field_name="study__study_instance_uid")
    message = KeyFilter(field_name="message_id", help_text="The id of a message.")

    class Meta:
        model = ExceptionCase
        fields: tuple[str, ...] = ()

    def by_status(self, rows: Rows, _name: str, value: str) -> Rows:
        return rows.filter(status__in=CASE_OPEN) if value == CaseStatus.OPEN else rows.filter(status=value)


class MessageFilter(filters.FilterSet):
    direction = filters.ChoiceFilter(choices=[("in", "received"), ("out", "sent")], method="by_direction")
    interface = KeyFilter(field_name="interface_id")
    control_id = filters.CharFilter()
    status = StateFilter(choices=InboundStatus.choices)
    type = filters.CharFilter(field_name="message_type", help_text="As TYPE^EVENT.")

    class Meta:
        model = InboundMessage
        fields: tuple[str, ...] = ()

    def by_direction(self, rows: Rows, _name: str, value: str) -> Rows:
        return rows if value == "in" else rows.none()


class AccessFilter(filters.FilterSet):
    user = filters.CharFilter(field_name="user_name")
    action = filters.CharFilter()
    since = filters.IsoDateTimeFilter(field_name="at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="at", lookup_expr="lt")

    class Meta:
        model = AccessEvent
        fields: tuple[str, ...] = ()


class JobFilter(filters.FilterSet):
    status = StateFilter(choices=JobStatus.choices)

    class Meta:
        model = Job
        fields: tuple[str, ...] = ()
