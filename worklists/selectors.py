"""Reading the worklist: the entries that match a query."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db.models import Max, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce

from orchestrator.models import ScheduledProcedureStep
from orchestrator.models.search import is_one
from orchestrator.permissions import Viewer, visible_to
from worklists.matching import Keys, Range, is_literal, narrowest
from worklists.models import (
    MatchValue,
    ModalityPerformedProcedureStep,
    ScheduledStation,
    WorklistEntry,
    WorklistQuery,
)

_CHUNK = 100
_STEP_OF_ENTRY = "step__procedure__order__patient"


def _any_of(column: str, globs: Sequence[str]) -> Q:
    """The column fits one of the globs (orchestrator.models.Glob)."""
    plain = [glob for glob in globs if is_literal(glob)]
    condition = Q(**{f"{column}__in": plain}) if len(plain) > 1 else Q(**{column: plain[0]}) if plain else Q()
    for glob in globs:
        if glob not in plain:
            condition |= Q(**{f"{column}__glob": glob}) & ~Q(**{column: ""})
    return condition


def _within(column: str, wanted: Range) -> Q:
    condition = ~Q(**{column: ""}) if not wanted.low else Q(**{f"{column}__gte": wanted.low})
    return condition & Q(**{f"{column}__lte": wanted.high}) if wanted.high else condition


# What both hold of an entry, and the index of each has.
_DAY = frozenset({"modality", "start"})


def _of_day(keys: Keys, site_id: int) -> Q:
    """What the indexes of entries and of their stations begin and end with: site, modality, start."""
    condition = Q(site=site_id)
    if modalities := keys.columns.get("modality"):
        condition &= _any_of("modality", modalities)
    return condition & _within("start", keys.start) if keys.start else condition


def _several(keys: Keys) -> dict[str, QuerySet[ScheduledStation] | QuerySet[MatchValue]]:
    """The keys of which an entry has several values, each with the rows that fit; no station is any station."""
    rows: dict[str, QuerySet[ScheduledStation] | QuerySet[MatchValue]] = {}
    if titles := keys.station_ae_titles:
        rows["station_ae_titles"] = ScheduledStation.objects.filter(_any_of("ae_title", ("", *titles)))
    for name, key, globs in (
        ("patient_names", MatchValue.Key.PATIENT_NAME, keys.patient_names),
        ("performing_physician_names", MatchValue.Key.PERFORMING_PHYSICIAN, keys.performing_physician_names),
    ):
        if globs:
            rows[name] = MatchValue.objects.filter(_any_of("value", globs), key=key)
    return rows


def _looked_at(keys: Keys, site_id: int, *, but: Collection[str]) -> QuerySet[WorklistEntry]:
    """The visible entries of a site that fit the keys with one value `but` some; without the help of an index.

    COALESCE says the same of a column and keeps the planner from its indexes. SQLite has no statistics: it would
    rather read all that are of one day than the one entry of an accession number.
    """
    wanted = {column: _any_of(f"its_{column}", globs) for column, globs in keys.columns.items()}
    for column, span in (("start", keys.start), ("start_time", keys.start_time)):
        if span:
            wanted[column] = _within(f"its_{column}", span)
    wanted = {column: fits for column, fits in wanted.items() if column not in but}
    its = {f"its_{column}": Coalesce(column, Value("")) for column in wanted}
    entries = WorklistEntry.objects.alias(its_site=Coalesce("site_id", Value(0)), **its)
    return entries.filter(*wanted.values(), visible=True, its_site=site_id)


def matching_entries(keys: Keys, *, site_id: int) -> QuerySet[WorklistEntry]:
    """The visible entries of a site that fit all keys, in the order of their start.

    They are found in the index of the key that fewest fit, and looked at for the others.
    """
    several = _several(keys)
    key = narrowest(keys)
    rows = several.pop(key, None)
    known: Collection[str] = {key}
    if key in keys.columns:
        found = _any_of(key, keys.columns[key])
    elif rows is None:
        found, known = _of_day(keys, site_id), _DAY
    elif key == "station_ae_titles":
        found, known = Q(pk__in=rows.filter(_of_day(keys, site_id)).values("entry")), _DAY
    else:
        found = Q(pk__in=rows.values("entry"))
    others = [is_one(each.filter(entry=OuterRef("pk"))) for each in several.values()]
    return _looked_at(keys, site_id, but=known).filter(found, *others).order_by("start", "pk")


class Answer(NamedTuple):
    """A matching entry: its step, its character set and encoded identifier, and whether any station is meant."""

    step_id: int
    character_set: str
    identifier: bytes
    any_station: bool


def answers(keys: Keys, *, site_id: int) -> Iterator[Answer]:
    """The answer of each matching entry.

    Few are read at once. Of more the list is fixed first, and the answers are read in portions: a slow peer holds no
    read transaction open, and a step that left the worklist meanwhile is left out.
    """
    entries = matching_entries(keys, site_id=site_id)
    few = list(entries.values_list(*_ANSWER)[: _CHUNK + 1])
    if len(few) <= _CHUNK:
        yield from map(_answer, few)
        return
    ids = list(entries.values_list("pk", flat=True))
    for begin in range(0, len(ids), _CHUNK):
        portion = WorklistEntry.objects.filter(pk__in=ids[begin : begin + _CHUNK], visible=True)
        yield from map(_answer, portion.order_by("start", "pk").values_list(*_ANSWER))


_ANSWER = ("pk", "character_set", "answer", "any_station")


def _answer(row: tuple[int, str, bytes, bool]) -> Answer:
    step_id, character_set, answer, any_station = row
    return Answer(step_id, character_set, bytes(answer), any_station)


def steps_named(
    *, study_instance_uid: str, accession_number: str, requested_procedure_id: str, sps_id: str, site_id: int
) -> list[ScheduledProcedureStep]:
    """The steps that a performed step may mean, the likeliest first: by step and study, else accession and
    procedure, else study.

    Where several fit, those of that step ID, then those that still wait. Steps of other sites are among them.
    """
    by_study = WorklistEntry.objects.filter(study_instance_uid=study_instance_uid)
    for entries in (
        by_study.filter(sps_id=sps_id) if sps_id else None,
        WorklistEntry.objects.filter(
            accession_number=accession_number, requested_procedure_id=requested_procedure_id, site=site_id
        )
        if accession_number and requested_procedure_id
        else None,
        by_study,
    ):
        if entries is not None and (found := list(entries.defer("answer").select_related(_STEP_OF_ENTRY))):
            found.sort(key=lambda entry: (entry.sps_id != sps_id, not entry.visible, entry.pk))
            return [entry.step for entry in found]
    return []


def last_questions(viewer: Viewer, since: datetime) -> dict[str, WorklistQuery]:
    """What each modality asked last, by its AE title, if it has asked since then."""
    recent = visible_to(WorklistQuery.objects.filter(last_at__gte=since), viewer, "worklist.view")
    latest = dict(recent.values_list("ae_title").annotate(Max("last_at")).order_by())
    rows = recent.filter(ae_title__in=latest, last_at__in=set(latest.values())).order_by("pk")
    return {row.ae_title: row for row in rows if row.last_at == latest[row.ae_title]}


def performed_step(sop_instance_uid: str, *, site_id: int) -> ModalityPerformedProcedureStep | None:
    """A performed step of this site."""
    return ModalityPerformedProcedureStep.objects.filter(sop_instance_uid=sop_instance_uid, site=site_id).first()
