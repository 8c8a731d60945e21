"""A scheduled step as a Modality Worklist identifier (PS3.4 Table K.6-1): all type 1 and 2 return keys, and more.

What we do not know of a type 2 attribute is there and empty; 1C, 2C and 3 are there when known. Values are cut to
their VR's length in characters.
"""

import datetime as dt
import re
from typing import Any
from zoneinfo import ZoneInfo

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from orchestrator.models import Issuer, Patient, PatientIdentifier, RequestedProcedure, ScheduledProcedureStep
from worklists.datasets.encoding import best_character_set, texts_of

_LENGTHS = {"SH": 16, "LO": 64, "CS": 16, "AE": 16, "UI": 64, "ST": 1024, "LT": 10240}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_CODE_STRING = re.compile(r"[^A-Z0-9_ ]")
_NOT_UID = re.compile(r"[^0-9.]")
# Modality is type 1: what nobody named is Other (PS3.3 C.7.3.1.1.1).
_OTHER = "OT"
_PREGNANT = "B6"  # HL7 table 0009
_DEFINITELY_PREGNANT = 3  # (0010,21C0)


def fitted(keyword: str, value: str) -> str:
    """`value` as this attribute may carry it: one value, without control characters, cut to its VR's length."""
    vr = dictionary_VR(keyword)
    if vr == "LT":
        return value.replace("\x00", "")[: _LENGTHS[vr]]
    # A backslash would make two values of one.
    text = _CONTROL.sub(" ", value).replace("\\", "/").strip()
    if vr == "PN":
        return "=".join("^".join(group.split("^")[:5])[:64] for group in text.split("=")[:3])
    if vr == "CS":
        text = _NOT_CODE_STRING.sub("", text.upper())
    if vr == "UI":
        text = _NOT_UID.sub("", text)
    if vr == "AE" and not text.isascii():
        text = text.encode("ascii", "replace").decode()
    return text[: _LENGTHS[vr]].strip()


def _put(ds: Dataset, *, always: bool = True, **values: str) -> None:
    """Set attributes by keyword; with `always` unknown ones are there and empty."""
    for keyword, value in values.items():
        text = fitted(keyword, value)
        if text or always:
            setattr(ds, keyword, text)


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    # CodingSchemeDesignator is type 1 beside a CodeValue; 99LOCAL says that it is nobody's but the site's.
    _put(item, CodeValue=value, CodingSchemeDesignator=scheme or "99LOCAL", CodeMeaning=meaning or value)
    return item


def _entity(issuer: Issuer) -> Dataset:
    """HL7v2 Hierarchic Designator Macro (PS3.3 10.17)."""
    item = Dataset()
    if issuer.namespace:
        item.LocalNamespaceEntityID = issuer.namespace
    if issuer.universal_id:
        item.UniversalEntityID = issuer.universal_id
        _put(item, UniversalEntityIDType=issuer.universal_id_type or "ISO")
    return item


def due(step: ScheduledProcedureStep) -> tuple[dt.date, dt.time]:
    """Wall clock, type 1: a step that nobody gave a day is due when it was ordered, one without a time at midnight."""
    if step.start_date:
        return step.start_date, step.start_time or dt.time()
    ordered = step.procedure.order.created_at.astimezone(ZoneInfo(step.site.time_zone))
    return ordered.date(), dt.time()


def modality_of(step: ScheduledProcedureStep) -> str:
    return fitted("Modality", step.modality) or _OTHER


def primary_identifier(patient: Patient) -> PatientIdentifier | None:
    """The identifier that modalities know the patient by: the primary one, else the oldest."""
    identifiers = sorted(patient.identifiers.all(), key=lambda each: (not each.primary, each.pk))
    return identifiers[0] if identifiers else None


def identifier_of(step: ScheduledProcedureStep) -> Dataset:
    """The whole worklist identifier of a step. Its relations should be fetched before (services.steps)."""
    ds = Dataset()
    procedure = step.procedure
    _patient(ds, procedure.order.patient)
    _visit(ds, procedure)
    _request(ds, procedure)
    ds.ScheduledProcedureStepSequence = [_step(step)]
    ds.SpecificCharacterSet = best_character_set(texts_of(ds))
    return ds


def _patient(ds: Dataset, patient: Patient) -> None:
    primary = primary_identifier(patient)
    _put(ds, PatientName=patient.name, PatientID=primary.value if primary else "", PatientSex=patient.sex)
    _put(ds, Allergies=patient.allergies, SpecialNeeds="")
    _put(ds, ConfidentialityConstraintOnPatientDataDescription=patient.confidentiality)
    ds.PatientBirthDate = f"{patient.birth_date:%Y%m%d}" if patient.birth_date else ""
    ds.PatientWeight = f"{patient.weight_kg:f}" if patient.weight_kg is not None else ""
    if patient.size_m is not None:
        ds.PatientSize = f"{patient.size_m:f}"
    ds.ReferencedPatientSequence = []
    if primary:
        _issuer_of_patient_id(ds, primary.issuer)
    others = [each for each in patient.identifiers.all() if primary and each.pk != primary.pk]
    if others:
        ds.OtherPatientIDsSequence = [_other_id(each) for each in sorted(others, key=lambda each: each.pk)]


def _issuer_of_patient_id(ds: Dataset, issuer: Issuer) -> None:
    _put(ds, always=False, IssuerOfPatientID=issuer.namespace or "")
    if issuer.universal_id:
        item = Dataset()
        item.UniversalEntityID = issuer.universal_id
        _put(item, UniversalEntityIDType=issuer.universal_id_type or "ISO")
        ds.IssuerOfPatientIDQualifiersSequence = [item]


def _other_id(identifier: PatientIdentifier) -> Dataset:
    item = Dataset()
    _put(item, PatientID=identifier.value, TypeOfPatientID="TEXT")
    _issuer_of_patient_id(item, identifier.issuer)
    return item


def _visit(ds: Dataset, procedure: RequestedProcedure) -> None:
    order = procedure.order
    visit = order.visit
    _put(
        ds,
        AdmissionID=visit.visit_number if visit else "",
        CurrentPatientLocation=visit.location if visit else "",
        # IHE RAD TF-2 appendix B: OBR-12, OBR-13, PV1-15.
        PatientState=order.danger_code,
        MedicalAlerts=order.patient.medical_alerts or order.relevant_clinical_information,
        ReferringPhysicianName=order.referring_physician or (visit.referring_physician if visit else ""),
    )
    ds.PregnancyStatus = _DEFINITELY_PREGNANT if visit and visit.ambulatory_status == _PREGNANT else None
    if visit and visit.issuer:
        ds.IssuerOfAdmissionIDSequence = [_entity(visit.issuer)]


def _description_of(procedure: RequestedProcedure) -> str:
    """Type 1C where there is no code: what the procedure is known by."""
    return procedure.description or procedure.code_meaning or procedure.code_value or procedure.requested_procedure_id


def _request(ds: Dataset, procedure: RequestedProcedure) -> None:
    order = procedure.order
    _put(
        ds,
        AccessionNumber=order.accession_number,
        RequestingPhysician=order.requesting_physician,
        RequestedProcedureID=procedure.requested_procedure_id,
        RequestedProcedureDescription=_description_of(procedure),
        RequestedProcedurePriority=order.priority,
        PatientTransportArrangements=order.patient_transport,
        StudyInstanceUID=procedure.study_instance_uid,
    )
    _put(
        ds,
        always=False,
        ReasonForTheRequestedProcedure=order.reason,
        PlacerOrderNumberImagingServiceRequest=order.placer_order_number,
        FillerOrderNumberImagingServiceRequest=order.filler_order_number,
    )
    ds.ReferencedStudySequence = []
    if order.accession_issuer:
        ds.IssuerOfAccessionNumberSequence = [_entity(order.accession_issuer)]
    if procedure.code_value:
        code = _code(procedure.code_value, procedure.coding_scheme_designator, procedure.code_meaning)
        ds.RequestedProcedureCodeSequence = [code]


def _step(step: ScheduledProcedureStep) -> Dataset:
    procedure, item = step.procedure, Dataset()
    titles = [title for each in step.station_ae_titles if (title := fitted("ScheduledStationAETitle", each))]
    item.ScheduledStationAETitle = titles[0] if len(titles) == 1 else titles
    day, time = due(step)
    item.ScheduledProcedureStepStartDate = f"{day:%Y%m%d}"
    item.ScheduledProcedureStepStartTime = f"{time:%H%M%S.%f}" if time.microsecond else f"{time:%H%M%S}"
    description = step.description or _description_of(procedure)
    _put(
        item,
        Modality=modality_of(step),
        ScheduledPerformingPhysicianName=step.performing_physician,
        ScheduledProcedureStepDescription=description,
        ScheduledStationName=step.station_name,
        ScheduledProcedureStepLocation=step.location,
        ScheduledProcedureStepID=step.sps_id,
        ScheduledProcedureStepStatus=step.status,
    )
    _put(item, always=False, PreMedication=step.pre_medication, RequestedContrastAgent=step.requested_contrast_agent)
    codes: list[list[Any]] = step.protocol_codes
    if codes:
        item.ScheduledProtocolCodeSequence = [
            _code(*(str(part or "") for part in [*code, "", "", ""][:3])) for code in codes if code and code[0]
        ]
    return item
