"""The data sets that a modality sends about scheduled and performed steps (PS3.4 annexes K and F)."""

from datetime import date, datetime

from pydicom.dataset import Dataset

from orchestrator.simulator.console import Identity
from orchestrator.simulator.images import performed_step_id, reference
from orchestrator.simulator.orders import CODING_SCHEME, Procedure
from orchestrator.simulator.sites import Station

_REQUESTED = (
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "RequestedProcedureID",
    "RequestedProcedurePriority",
    "ReferencedStudySequence",
    "AdmissionID",
)
_REQUESTED_OF_STEP = (
    "ScheduledProcedureStepStartTime",
    "ScheduledPerformingPhysicianName",
    "ScheduledProcedureStepDescription",
    "ScheduledProtocolCodeSequence",
    "ScheduledProcedureStepID",
)


def worklist_keys(station: Station, day: date) -> Dataset:
    """Everything on this station on this day, with what the console copies (PS3.4 Table K.6-1)."""
    step = Dataset()
    step.ScheduledStationAETitle, step.Modality = station.ae_title, station.modality
    step.ScheduledProcedureStepStartDate = day.strftime("%Y%m%d")
    for keyword in _REQUESTED_OF_STEP:
        setattr(step, keyword, [] if keyword.endswith("Sequence") else "")
    keys = Dataset()
    for keyword in _REQUESTED:
        setattr(keys, keyword, [] if keyword.endswith("Sequence") else "")
    keys.ScheduledProcedureStepSequence = [step]
    return keys


def step_begun(station: Station, identity: Identity, procedure: Procedure, at: datetime) -> Dataset:
    """N-CREATE (PS3.4 Table F.7.2-1). Without a scheduled step this is the unscheduled case."""
    scheduled = identity.requests()
    for item in scheduled:
        item.ReferencedStudySequence = []
        if "ScheduledProtocolCodeSequence" not in item:
            item.ScheduledProtocolCodeSequence = []
    ds = Dataset()
    identity.stamp_patient(ds)
    ds.ReferencedPatientSequence = []
    ds.ScheduledStepAttributesSequence = scheduled
    ds.PerformedProcedureStepID = performed_step_id(identity, at)
    ds.PerformedStationAETitle = ds.PerformedStationName = station.ae_title
    ds.PerformedLocation = ""
    ds.PerformedProcedureStepStartDate = at.strftime("%Y%m%d")
    ds.PerformedProcedureStepStartTime = at.strftime("%H%M%S")
    ds.PerformedProcedureStepEndDate, ds.PerformedProcedureStepEndTime = "", ""
    ds.PerformedProcedureStepStatus = "IN PROGRESS"
    ds.PerformedProcedureStepDescription, ds.PerformedProcedureTypeDescription = procedure.meaning, ""
    ds.PerformedProcedureStepDiscontinuationReasonCodeSequence = []
    ds.ProcedureCodeSequence = [_code(procedure.code, CODING_SCHEME, procedure.meaning)]
    ds.PerformedProtocolCodeSequence, ds.PerformedSeriesSequence = [], []
    ds.Modality, ds.StudyID = station.modality, identity.requested_procedure_id[-16:]
    return ds


def step_finished(identity: Identity, series: list[list[Dataset]], at: datetime, *, wrong_entry: bool) -> Dataset:
    """N-SET to COMPLETED, or to DISCONTINUED for "incorrect worklist entry selected" (CID 9301)."""
    ds = Dataset()
    ds.SpecificCharacterSet = identity.character_set
    ds.PerformedProcedureStepStatus = "DISCONTINUED" if wrong_entry else "COMPLETED"
    if wrong_entry:
        ds.PerformedProcedureStepDiscontinuationReasonCodeSequence = [
            _code("110514", "DCM", "Incorrect worklist entry selected")
        ]
    ds.PerformedProcedureStepEndDate = at.strftime("%Y%m%d")
    ds.PerformedProcedureStepEndTime = at.strftime("%H%M%S")
    ds.PerformedSeriesSequence = [_performed(objects) for objects in series]
    return ds


def _performed(objects: list[Dataset]) -> Dataset:
    first, item = objects[0], Dataset()
    item.PerformingPhysicianName, item.OperatorsName, item.RetrieveAETitle = "", "Operator^One", ""
    item.SeriesInstanceUID, item.SeriesDescription = first.SeriesInstanceUID, first.SeriesDescription
    item.ProtocolName = first.SeriesDescription
    item.ReferencedImageSequence = [reference(ds) for ds in objects]
    item.ReferencedNonImageCompositeSOPInstanceSequence = []
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
