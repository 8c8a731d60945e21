"""Keeping the worklist: each step's entry is written in the transaction that changes the step (STEP_PROJECTIONS)."""

from collections.abc import Iterable, Iterator, Sequence

from django.db import transaction

from orchestrator.models import ScheduledProcedureStep
from orchestrator.states import STEP_ON_WORKLIST
from worklists.datasets.encoding import encode
from worklists.datasets.entry import due, fitted, identifier_of, modality_of, primary_identifier
from worklists.matching import name_groups
from worklists.models import MatchValue, WorklistEntry

_COLUMNS = [field.name for field in WorklistEntry._meta.concrete_fields if not field.primary_key]
# Under SQLite's limit of variables per statement, and few enough to hold in memory.
_BATCH = 200


@transaction.atomic
def project(step_ids: Iterable[int]) -> None:
    """Write the worklist entries of these steps anew. A step that is not to be performed stays, hidden."""
    ids = sorted(set(step_ids))
    for begin in range(0, len(ids), _BATCH):
        _project(ids[begin : begin + _BATCH])


def _project(ids: Sequence[int]) -> None:
    steps = (
        ScheduledProcedureStep.objects.filter(pk__in=ids)
        .select_related(
            "site",
            "procedure__order__patient",
            "procedure__order__accession_issuer",
            "procedure__order__visit__issuer",
        )
        .prefetch_related("procedure__order__patient__identifiers__issuer")
    )
    entries: list[WorklistEntry] = []
    values: list[MatchValue] = []
    for step in steps:
        entries.append(_entry(step))
        values += _match_values(step)
    WorklistEntry.objects.bulk_create(entries, update_conflicts=True, unique_fields=["step"], update_fields=_COLUMNS)
    MatchValue.objects.filter(entry__in=ids).delete()
    MatchValue.objects.bulk_create(values)


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
        any_station=not any(map(_station, step.station_ae_titles)),
        patient_id=fitted("PatientID", primary.value) if primary else "",
        accession_number=fitted("AccessionNumber", order.accession_number),
        requested_procedure_id=fitted("RequestedProcedureID", procedure.requested_procedure_id),
        study_instance_uid=fitted("StudyInstanceUID", procedure.study_instance_uid),
        sps_id=fitted("ScheduledProcedureStepID", step.sps_id),
        character_set=identifier.SpecificCharacterSet,
        answer=encode(identifier),
    )


def _station(ae_title: str) -> str:
    return fitted("ScheduledStationAETitle", ae_title)


def _match_values(step: ScheduledProcedureStep) -> Iterator[MatchValue]:
    key = MatchValue.Key
    patient_name = fitted("PatientName", step.procedure.order.patient.name)
    physician = fitted("ScheduledPerformingPhysicianName", step.performing_physician)
    for name, values in (
        (key.STATION_AE_TITLE, [title for each in step.station_ae_titles if (title := _station(each))]),
        (key.PATIENT_NAME, name_groups(patient_name)),
        (key.PERFORMING_PHYSICIAN, name_groups(physician)),
    ):
        for value in values:
            yield MatchValue(entry_id=step.pk, key=name, value=value)
