"""Keeping the worklist: each step's entry is written in the transaction that changes the step (STEP_PROJECTIONS)."""

from collections.abc import Iterable, Iterator, Sequence

from django.db import transaction
from django.db.models import Prefetch, QuerySet, prefetch_related_objects

from orchestrator.models import PatientIdentifier, ScheduledProcedureStep
from orchestrator.states import STEP_ON_WORKLIST
from worklists.datasets.encoding import encode
from worklists.datasets.entry import due, fitted, identifier_of, modality_of, primary_identifier
from worklists.matching import name_groups
from worklists.models import MatchValue, ScheduledStation, WorklistEntry

_COLUMNS = [field.name for field in WorklistEntry._meta.concrete_fields if not field.primary_key]
# Under SQLite's limit of variables per statement, and few enough to hold in memory.
_BATCH = 200


_IDENTIFIERS = Prefetch(
    "procedure__order__patient__identifiers", PatientIdentifier.objects.select_related("issuer").order_by("pk")
)


# No savepoint: nobody goes on with a step whose entry could not be written.
@transaction.atomic(savepoint=False)
def project(step_ids: Iterable[int], *, new: Sequence[ScheduledProcedureStep] = ()) -> None:
    """Write the worklist entries of these steps anew. A step that is not to be performed stays, hidden.

    `new`: steps that this transaction has made, with the rows above them; they have no entries yet.
    """
    if new:
        # The patients are the caller's own: what was read of them earlier is not taken, what is read here not left.
        _forget_what_was_read_of_patients(new)
        prefetch_related_objects(new, _IDENTIFIERS)
        _write(new, anew=False)
        _forget_what_was_read_of_patients(new)
    ids = sorted(set(step_ids))
    for begin in range(0, len(ids), _BATCH):
        _write(_read(ids[begin : begin + _BATCH]), anew=True)


def _forget_what_was_read_of_patients(steps: Iterable[ScheduledProcedureStep]) -> None:
    for step in steps:
        vars(step.procedure.order.patient).pop("_prefetched_objects_cache", None)


def _read(ids: Sequence[int]) -> QuerySet[ScheduledProcedureStep]:
    steps = ScheduledProcedureStep.objects.filter(pk__in=ids).select_related(
        "site",
        "procedure__order__patient",
        "procedure__order__accession_issuer",
        "procedure__order__visit__issuer",
    )
    return steps.prefetch_related(_IDENTIFIERS)


def _write(steps: Iterable[ScheduledProcedureStep], *, anew: bool) -> None:
    entries: list[WorklistEntry] = []
    stations: list[ScheduledStation] = []
    names: list[MatchValue] = []
    for step in steps:
        entry, titles = _entry(step), _stations(step)
        entries.append(entry)
        if entry.visible:
            stations += (_at(entry, title) for title in titles or [""])
            names += _names(step)
    WorklistEntry.objects.bulk_create(entries, update_conflicts=True, unique_fields=["step"], update_fields=_COLUMNS)
    # After the entries: they are locked by now, and nobody else's rows come in between.
    if anew:
        ScheduledStation.objects.filter(entry__in=entries).delete()
        MatchValue.objects.filter(entry__in=entries).delete()
    ScheduledStation.objects.bulk_create(stations)
    MatchValue.objects.bulk_create(names)


def _entry(step: ScheduledProcedureStep) -> WorklistEntry:
    procedure = step.procedure
    order = procedure.order
    primary = primary_identifier(order.patient)
    identifier = identifier_of(step)
    day, time = due(step)
    return WorklistEntry(
        step=step,
        site_id=step.site_id,
        visible=step.status in STEP_ON_WORKLIST,
        start=f"{day:%Y%m%d}{time:%H%M%S%f}",
        start_time=f"{time:%H%M%S%f}",
        modality=modality_of(step),
        any_station=not _stations(step),
        patient_id=fitted("PatientID", primary.value) if primary else "",
        accession_number=fitted("AccessionNumber", order.accession_number),
        requested_procedure_id=fitted("RequestedProcedureID", procedure.requested_procedure_id),
        study_instance_uid=fitted("StudyInstanceUID", procedure.study_instance_uid),
        sps_id=fitted("ScheduledProcedureStepID", step.sps_id),
        character_set=identifier.SpecificCharacterSet,
        answer=encode(identifier),
    )


def _stations(step: ScheduledProcedureStep) -> list[str]:
    fitting = (fitted("ScheduledStationAETitle", each) for each in step.station_ae_titles)
    return list(dict.fromkeys(filter(None, fitting)))


def _at(entry: WorklistEntry, ae_title: str) -> ScheduledStation:
    return ScheduledStation(
        entry_id=entry.pk, site_id=entry.site_id, ae_title=ae_title, start=entry.start, modality=entry.modality
    )


def _names(step: ScheduledProcedureStep) -> Iterator[MatchValue]:
    patient_name = fitted("PatientName", step.procedure.order.patient.name)
    physician = fitted("ScheduledPerformingPhysicianName", step.performing_physician)
    for key, name in (
        (MatchValue.Key.PATIENT_NAME, patient_name),
        (MatchValue.Key.PERFORMING_PHYSICIAN, physician),
    ):
        for group in name_groups(name):
            yield MatchValue(entry_id=step.pk, key=key, value=group)
