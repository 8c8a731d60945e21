"""What pages and the API read. Whatever carries PHI takes the viewer and goes through `visible_to`."""

import datetime as dt
import unicodedata
from collections.abc import Mapping, Sequence

from django.db.models import Case, CharField, Count, Prefetch, Q, QuerySet, Value, When
from django.utils import timezone

from orchestrator.models import (
    ApplicationEntity,
    ExceptionCase,
    ImagingServiceRequest,
    InboundMessage,
    Issuer,
    Patient,
    PatientIdentifier,
    RoleAssignment,
    ScheduledProcedureStep,
    Site,
    Study,
    User,
    WorkflowEvent,
)
from orchestrator.permissions import ACTIONS, Viewer, visible_to
from orchestrator.states import CASE_OPEN, CASE_WAITING, CaseStatus

CLOSED_DAYS = 30
NOBODY = "none"

CASE_VIEWS: Mapping[str, str] = {
    "open": "All open", "mine": "Mine", "unassigned": "Unassigned", "snoozed": "Snoozed", "closed": "Closed",
}  # fmt: skip


def cases(viewer: Viewer, view: str = "open") -> QuerySet[ExceptionCase]:
    """The exceptions that the viewer may see, of one of CASE_VIEWS, or "all"."""
    queryset = visible_to(ExceptionCase.objects.all(), viewer, "exceptions.view")
    if view == "all":
        return queryset
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


def number_of(text: str) -> int | None:
    """The row id that a text names: None for what is no number, or a larger one than a database holds."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def values_of(name: str, chosen: str) -> list[str]:
    """The values that a filter is set to: several kinds stand with commas between, of all else there is one."""
    return chosen.split(",") if name == "kind" else [chosen]


def filter_cases(queryset: QuerySet[ExceptionCase], chosen: Mapping[str, str]) -> QuerySet[ExceptionCase]:
    """The cases with these values of `count_cases`."""
    for name, value in chosen.items():
        if name == "due":
            queryset = queryset.filter(due_filter(value))
        elif name in ("site", "owner"):
            key = number_of(value)
            queryset = queryset.filter(**{f"{name}_id": key}) if key or value == NOBODY else queryset.none()
        elif name == "kind":
            queryset = queryset.filter(kind__in=values_of(name, value))
        elif name in ("modality", "source"):
            queryset = queryset.filter(**{name: "" if value == NOBODY else value})
    return queryset


def queue_rows(queryset: QuerySet[ExceptionCase]) -> QuerySet[ExceptionCase]:
    """With what a row of the queue shows."""
    return queryset.select_related("owner", "site", "claim", "patient", "study", "order").prefetch_related(
        Prefetch("patient__identifiers", PatientIdentifier.objects.order_by("-primary", "pk"))
    )


def _by_words(text: str) -> Q:
    """Patients whose folded name has every word of the text, in any order and without accents."""
    words = folded_words(text)
    found = Q() if words else Q(pk=None)
    for word in words:
        found &= Q(folded_name__contains=word)
    return found


def folded_words(text: str) -> list[str]:
    """The words of a name as `Patient.folded_name` has them: upper case, without accents."""
    plain = unicodedata.normalize("NFKD", text)
    letters = "".join(" " if letter in "^=-,'" else letter for letter in plain if not unicodedata.combining(letter))
    return letters.upper().split()


def _date(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


def patients(viewer: Viewer, text: str = "") -> QuerySet[Patient]:
    """Patients by identifier (whole), birth date (ISO) or name; merged ones stand under their survivor."""
    queryset = visible_to(Patient.objects.filter(merged_into=None), viewer, "patients.view")
    if text:
        subsumed = Patient.objects.filter(identifiers__value=text).values("merged_into")
        queryset = queryset.filter(Q(pk__in=_patient_keys(text)) | Q(pk__in=subsumed))
    return queryset.prefetch_related(
        Prefetch("identifiers", PatientIdentifier.objects.select_related("issuer").order_by("-primary", "pk"))
    )


def _patient_keys(text: str) -> QuerySet[Patient, int]:
    """Ids of the patients that a list of studies or orders is searched for."""
    born = _date(text)
    by_name = Q(birth_date=born) if born else _by_words(text)
    return Patient.objects.filter(Q(identifiers__value=text) | by_name).values_list("pk", flat=True)


def studies(viewer: Viewer, text: str = "") -> QuerySet[Study]:
    """Studies by Study Instance UID, accession number, patient ID (all whole) or the patient's name."""
    queryset = visible_to(Study.objects.all(), viewer, "studies.view")
    if text:
        said = Q(claims__accession_number=text) | Q(claims__patient_id=text) | Q(claims__order__accession_number=text)
        keys = Study.objects.filter(
            Q(study_instance_uid=text) | said | Q(patient__in=_patient_keys(text)) | Q(_claimed_name(text))
        ).values("pk")
        queryset = queryset.filter(pk__in=keys)
    return queryset


def _claimed_name(text: str) -> Q:
    """Claims whose name as received has every word of the text (held studies have no patient yet)."""
    found = Q(pk=None) if not text.split() else Q()
    for word in text.replace(",", " ").split():
        found &= Q(claims__patient_name__icontains=word)
    return found


def study_rows(queryset: QuerySet[Study]) -> QuerySet[Study]:
    """With what a row of a list of studies shows."""
    return queryset.select_related("site", "patient").prefetch_related("claims__order")


def study_events(study: Study, limit: int | None = 200) -> list[WorkflowEvent]:
    """What happened to the study and to the orders it was matched to, oldest first."""
    orders = {claim.order_id for claim in study.claims.all()} - {None}
    about = Q(study_id=study.pk) | Q(order_id__in=orders, study_id=None)
    return sorted(WorkflowEvent.objects.filter(about).order_by("-at")[:limit], key=lambda event: (event.at, event.pk))


def cases_of_study(viewer: Viewer, study: Study) -> list[ExceptionCase]:
    """The open cases about the study that the viewer may see."""
    about = ExceptionCase.objects.filter(study=study, status__in=CASE_OPEN)
    return list(visible_to(about, viewer, "exceptions.view").order_by("due_at"))


def orders(viewer: Viewer, text: str = "") -> QuerySet[ImagingServiceRequest]:
    """Orders by accession, placer or filler number (whole), or by patient."""
    queryset = visible_to(ImagingServiceRequest.objects.all(), viewer, "orders.view")
    if text:
        numbers = Q(accession_number=text) | Q(placer_order_number=text) | Q(filler_order_number=text)
        queryset = queryset.filter(numbers | Q(patient__in=_patient_keys(text)))
    return queryset


def order_rows(queryset: QuerySet[ImagingServiceRequest]) -> QuerySet[ImagingServiceRequest]:
    """With what a row of a list of orders shows."""
    return queryset.select_related("site", "patient").prefetch_related(
        "requested_procedures__steps",
        Prefetch("patient__identifiers", PatientIdentifier.objects.order_by("-primary", "pk")),
    )


def steps_of_day(viewer: Viewer, day: dt.date) -> QuerySet[ScheduledProcedureStep]:
    """The steps that are to start on that day (as the sites write it), by time; without a day, those ordered on it."""
    ordered = Q(start_date=None, procedure__order__created_at__date=day)
    return (
        visible_to(ScheduledProcedureStep.objects.filter(Q(start_date=day) | ordered), viewer, "worklist.view")
        .select_related("site", "procedure__order__patient")
        .order_by("start_time", "pk")
    )


def messages(viewer: Viewer, text: str = "") -> QuerySet[InboundMessage]:
    """Messages by control id or by order number or patient ID that they name (whole)."""
    queryset = visible_to(InboundMessage.objects.all(), viewer, "messages.view").select_related("interface", "site")
    if text:
        about = Q(patient__identifiers__value=text) | Q(order__in=orders(viewer, text).values("pk"))
        keys = InboundMessage.objects.filter(Q(control_id=text) | about).values("pk")
        queryset = queryset.filter(pk__in=keys)
    return queryset


def users(viewer: Viewer) -> QuerySet[User]:
    """Everybody, for those who look after all sites; else oneself and who has a role at the viewer's sites."""
    rows = User.objects.prefetch_related("role_assignments__site").order_by("username")
    sites = viewer.sites_for("users.view")
    if sites is None:
        return rows
    return rows.filter(Q(role_assignments__site__in=sites) | Q(pk=viewer.user_id)).distinct()


def who_may(action: str, site: Site) -> QuerySet[User]:
    """Active people who may do this at that site."""
    allowed = RoleAssignment.objects.filter(Q(site=site) | Q(site=None), role__in=ACTIONS[action])
    return User.objects.filter(is_active=True, pk__in=allowed.values("user"))


def claimed_issuer(*, namespace: str, universal_id: str, calling_ae_title: str, site: Site) -> Issuer | None:
    """Who issued a patient ID that came by DICOM: the issuer it names, else its AE's default, else its site's.

    None when it names one that is not known, when there is no default, or when nobody said to which of several sites
    the AE belongs: such an id proves nothing (promise 7).
    """
    if namespace or universal_id:
        names = {"namespace": namespace, "universal_id": universal_id}
        found = {Issuer.objects.filter(**{name: value}).first() for name, value in names.items() if value} - {None}
        return found.pop() if len(found) == 1 else None
    entity = ApplicationEntity.objects.filter(ae_title=calling_ae_title).select_related("default_issuer").first()
    if entity is None and Site.objects.exclude(pk=site.pk).exists():
        return None
    return (entity.default_issuer if entity else None) or site.default_issuer
