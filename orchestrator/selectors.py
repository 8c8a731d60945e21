"""What pages and the API read. Whatever carries PHI takes the viewer and goes through `visible_to`."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, reduce
from operator import or_
from typing import Any, TypeVar

from django.db.models import Count, IntegerField, Model, OuterRef, Prefetch, Q, QuerySet, Subquery, Value
from django.http import QueryDict
from django.utils import timezone

from orchestrator.models import (
    ApplicationEntity,
    ClaimWord,
    Device,
    ExceptionCase,
    IdentityClaim,
    ImagingServiceRequest,
    InboundMessage,
    Issuer,
    Patient,
    PatientIdentifier,
    PatientWord,
    RoleAssignment,
    ScheduledProcedureStep,
    Site,
    Study,
    User,
    WorkflowEvent,
)
from orchestrator.models.search import (
    Way,
    each_word,
    find,
    has_words,
    is_gone_through,
    is_one,
    with_words,
)
from orchestrator.permissions import ACTIONS, Viewer, standing_at, visible_to
from orchestrator.states import CASE_OPEN, CASE_WAITING, CaseStatus

M = TypeVar("M", bound=Model)

CLOSED_DAYS = 30
NOBODY = "none"
_ORDER_NUMBERS = ("accession_number", "placer_order_number", "filler_order_number")

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


# Buckets of due times: what is due before now and so long; `later` is beyond the last.
_DUE = {"over": dt.timedelta(0), "hour": dt.timedelta(hours=1), "day": dt.timedelta(days=1)}


def due_filter(bucket: str) -> Q:
    """Cases by when somebody should have looked: over, hour, day, later."""
    now, buckets = timezone.now(), [*_DUE]
    place = buckets.index(bucket) if bucket in _DUE else len(buckets)
    begins = Q(due_at__gte=now + _DUE[buckets[place - 1]]) if place else Q()
    return begins & Q(due_at__lt=now + _DUE[bucket]) if bucket in _DUE else begins


def count_cases(queryset: QuerySet[ExceptionCase]) -> Sequence[tuple[Mapping[str, str], int]]:
    """How many cases there are with each combination of what they can be filtered by: one grouped query.

    Grouped by what stands in the index in this order, and the due times counted within: read once, without sorting.
    """
    now = timezone.now()
    groups = (
        queryset.values_list("kind", "site_id", "modality", "source", "owner_id")
        .annotate(
            **{bucket: Count("due_at", filter=Q(due_at__lt=now + ahead)) for bucket, ahead in _DUE.items()},
            number=Count("*"),  # of no column: the index alone is read
        )
        .order_by()
    )
    return [
        (
            {
                "kind": kind, "site": str(site), "modality": modality or NOBODY, "source": source or NOBODY,
                "owner": str(owner or NOBODY), "due": bucket,
            },
            upto - before,
        )
        for kind, site, modality, source, owner, *within in groups
        for bucket, before, upto in zip((*_DUE, "later"), (0, *within), within, strict=False)
        if upto > before
    ]  # fmt: skip


class Bounded(int):
    """A number that is exact, or as far as was counted (`is_more`): beyond, nobody reads the last digits."""

    is_more = False

    def __repr__(self) -> str:
        return f"{int(self)}{'+' * self.is_more}"


MOST_COUNTED = 10_000


def bounded(number: int, most: int = MOST_COUNTED) -> Bounded:
    """A number of rows of which `most` and one more were counted, or all."""
    counted = Bounded(min(number, most))
    counted.is_more = number > most
    return counted


def count_up_to(queryset: QuerySet[Any, Any], most: int = MOST_COUNTED) -> Bounded:
    """How many rows there are, counted no further than `most`."""
    return bounded(queryset.order_by().values("pk")[: most + 1].count(), most)


class NumberOf(Subquery):
    """How many rows a queryset has, told beside other numbers in one query."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) counted)"
    output_field = IntegerField()


def number_of(text: str) -> int | None:
    """The row id that a text names: None for what is no number, or a larger one than a database holds."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def holds_nul(query: QueryDict) -> bool:
    """Whether a name or a value of it has a NUL, which no text of PostgreSQL can hold."""
    return any("\0" in text for key, values in query.lists() for text in (key, *values))


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


def _date(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


def _exactly(text: str) -> list[QuerySet[Any, Any]]:
    """Ids of the patients with this identifier (whole) or birth date (ISO)."""
    identified: QuerySet[Any, Any] = PatientIdentifier.objects.filter(value=text).values_list("patient")
    born = _date(text)
    return [identified, Patient.objects.filter(birth_date=born).values_list("pk")] if born else [identified]


def _is_exactly(text: str, outer: str = "pk") -> Q:
    """The same, asked of one row, whose `outer` is the patient's id."""
    is_it = is_one(PatientIdentifier.objects.filter(patient=OuterRef(outer), value=text))
    born = _date(text)
    return is_it | is_one(Patient.objects.filter(pk=OuterRef(outer), birth_date=born)) if born else is_it


def named(rows: QuerySet[Patient], text: str) -> QuerySet[Patient]:
    """Those of the patients whose name has words that begin as those of the text do; `beyond_few` when of all patients
    more have such a name than are counted.
    """
    # Each once, however many of the words that begin so it has: the number is told.
    words = with_words(PatientWord, "patient", text).distinct()
    found = find(rows, Way([words], has_words(PatientWord, "patient", text)))
    return found.alias(beyond_few=Value(1)) if is_gone_through(found) and not rows.query.where else found


class Namesakes:
    """The patients with such a name: looked up once, for all that is searched for theirs."""

    def __init__(self, text: str) -> None:
        self._text = text
        # A birth date is none.
        self.is_name = not _date(text)

    @cached_property
    def ids(self) -> Sequence[int] | None:
        """None when there are too many to be named."""
        keys = Way([with_words(PatientWord, "patient", self._text)], Q(), each_word(self._text, PatientWord)).keys()
        return None if keys is None else sorted(keys)

    def way(self, of: QuerySet[Any, Any], patient: str, fits: Q) -> list[Way]:
        """How to find those `of` rows where `patient`, the path to an id, leads to one of them."""
        if not self.is_name:
            return []
        return [Way([of.filter(**{f"{patient}__among": self.ids or ()})], fits, too_many=self.ids is None)]


def patients(viewer: Viewer, text: str = "", site: str = "", namesakes: Namesakes | None = None) -> QuerySet[Patient]:
    """Patients (of one site) by identifier (whole), birth date (ISO) or name; merged ones stand under their survivor.

    A name is given by its words or their beginnings, in any order and without accents.
    """
    queryset = visible_to(Patient.objects.filter(merged_into=None), viewer, "patients.view")
    sites: Collection[int] | None = viewer.sites_for("patients.view")
    if site:
        sites = [int(site)]
        queryset = queryset.filter(pk__in=standing_at(sites))
    if text:
        subsumed = Patient.objects.filter(identifiers__value=text, merged_into__isnull=False)
        exact = Way(
            [*_exactly(text), subsumed.values_list("merged_into")],
            _is_exactly(text) | is_one(subsumed.filter(merged_into=OuterRef("pk"))),
        )
        has_name = has_words(PatientWord, "patient", text)
        if sites is None:
            by_name = (namesakes or Namesakes(text)).way(Patient.objects.values_list("pk"), "pk", has_name)
        else:
            # The latest of a site stand in no index; what is common everywhere may be named there.
            with_name = with_words(PatientWord, "patient", text)
            by_name = [] if _date(text) else [Way([with_name.filter(patient__in=standing_at(sites))], has_name)]
        queryset = find(queryset, exact, *by_name)
    return queryset.prefetch_related(
        Prefetch("identifiers", PatientIdentifier.objects.select_related("issuer").order_by("-primary", "pk"))
    )


def studies(viewer: Viewer, text: str = "", namesakes: Namesakes | None = None) -> QuerySet[Study]:
    """Studies by Study Instance UID, accession number, patient ID (all whole), birth date or the patient's name.

    The name is the known one or the one received: held studies have no patient yet.
    """
    queryset = visible_to(Study.objects.all(), viewer, "studies.view")
    if not text:
        return queryset
    numbers = ("accession_number", "patient_id", "order__accession_number")
    claims, namesakes = IdentityClaim.objects, namesakes or Namesakes(text)
    exact = Way(
        [
            Study.objects.filter(study_instance_uid=text).values_list("pk"),
            *(claims.filter(**{name: text}).values_list("study") for name in numbers),
            *(Study.objects.filter(patient__in=keys).values_list("pk") for keys in _exactly(text)),
        ],
        Q(study_instance_uid=text)
        | is_one(claims.filter(reduce(or_, (Q(**{name: text}) for name in numbers)), study=OuterRef("pk")))
        | _is_exactly(text, "patient"),
    )
    said = is_one(claims.filter(has_words(ClaimWord, "claim", text), study=OuterRef("pk")))
    claimed = claims.filter(pk__in=with_words(ClaimWord, "claim", text)).values_list("study")
    known = namesakes.way(
        Study.objects.values_list("pk"), "patient__pk", has_words(PatientWord, "patient", text, "patient")
    )
    # Where the patients are too many, so are their claims.
    too_many = any(way.too_many for way in known)
    return find(queryset, exact, Way([claimed], said, each_word(text, ClaimWord), too_many), *known)


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


def orders(viewer: Viewer, text: str = "", namesakes: Namesakes | None = None) -> QuerySet[ImagingServiceRequest]:
    """Orders by accession, placer or filler number (whole), or by patient."""
    queryset = visible_to(ImagingServiceRequest.objects.all(), viewer, "orders.view")
    if not text:
        return queryset
    every = ImagingServiceRequest.objects.values_list("pk")
    exact = Way(
        [
            *(every.filter(**{name: text}) for name in _ORDER_NUMBERS),
            *(every.filter(patient__in=keys) for keys in _exactly(text)),
        ],
        _is_order(text),
    )
    has_name = has_words(PatientWord, "patient", text, "patient")
    by_name = (namesakes or Namesakes(text)).way(every, "patient__pk", has_name)
    return find(queryset, exact, *by_name)


def _is_order(text: str) -> Q:
    """Whether an order has this number, or is for exactly that patient."""
    return reduce(or_, (Q(**{name: text}) for name in _ORDER_NUMBERS)) | _is_exactly(text, "patient")


def order_rows(queryset: QuerySet[ImagingServiceRequest]) -> QuerySet[ImagingServiceRequest]:
    """With what a row of a list of orders shows."""
    return queryset.select_related("site", "patient").prefetch_related(
        "requested_procedures__steps",
        Prefetch("patient__identifiers", PatientIdentifier.objects.order_by("-primary", "pk")),
    )


def steps_of_day(viewer: Viewer, day: dt.date) -> QuerySet[ScheduledProcedureStep]:
    """The steps that are to start on that day (as the sites write it), by time; without a day, those ordered on it."""
    every = ScheduledProcedureStep.objects.values("pk")
    # Of two tables each its own index: an OR would read both whole.
    ordered = every.filter(start_date=None, procedure__order__in=_ordered_on(day))
    return visible_to(
        ScheduledProcedureStep.objects.filter(pk__in=every.filter(start_date=day).union(ordered)),
        viewer,
        "worklist.view",
    ).order_by("start_time", "pk")


def _ordered_on(day: dt.date) -> QuerySet[ImagingServiceRequest]:
    """Orders of a day, by the clock of pages."""
    start = timezone.make_aware(dt.datetime.combine(day, dt.time()))
    return ImagingServiceRequest.objects.filter(created_at__gte=start, created_at__lt=start + dt.timedelta(days=1))


def messages(viewer: Viewer, text: str = "") -> QuerySet[InboundMessage]:
    """Messages by control id, or by the patient ID that they name, or about the orders that the text finds."""
    queryset = visible_to(InboundMessage.objects.all(), viewer, "messages.view").select_related("interface", "site")
    if not text:
        return queryset
    identified = PatientIdentifier.objects.filter(value=text)
    about = visible_to(ImagingServiceRequest.objects.all(), viewer, "orders.view")
    every = InboundMessage.objects.values_list("pk")
    exact = Way(
        [
            every.filter(control_id=text),
            every.filter(patient__in=identified.values("patient")),
            *(every.filter(order__in=about.filter(**{name: text}).values("pk")) for name in _ORDER_NUMBERS),
            *(every.filter(order__in=about.filter(patient__in=keys).values("pk")) for keys in _exactly(text)),
        ],
        Q(control_id=text)
        | is_one(identified.filter(patient=OuterRef("patient")))
        | is_one(about.filter(_is_order(text), pk=OuterRef("order"))),
    )
    has_name = is_one(about.filter(has_words(PatientWord, "patient", text, "patient"), pk=OuterRef("order")))
    by_name = Namesakes(text).way(every.filter(order__in=about.values("pk")), "order__patient__pk", has_name)
    return find(queryset, exact, *by_name)


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
    """Who issued a patient ID that came by DICOM: the issuer it names, else its AE's default, else, of a modality, that
    of its site. `site`: the study's, which counts only where there is no other.

    None when it names one that is not known, when there is no default, or when of several sites nobody said whose ids
    the AE tells, as an archive's or a processor's may be of all: such an id proves nothing (promise 7).
    """
    if namespace or universal_id:
        names = {"namespace": namespace, "universal_id": universal_id}
        found = {Issuer.objects.filter(**{name: value}).first() for name, value in names.items() if value} - {None}
        return found.pop() if len(found) == 1 else None
    entities = ApplicationEntity.objects.select_related("default_issuer", "device__site__default_issuer")
    entity = entities.filter(ae_title=calling_ae_title).first()
    if entity is not None and (entity.default_issuer or entity.device.kind == Device.Kind.MODALITY):
        return entity.default_issuer or entity.device.site.default_issuer
    return None if Site.objects.exclude(pk=site.pk).exists() else site.default_issuer
