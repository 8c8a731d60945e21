"""MPPS data sets (PS3.4 annex F) as DICOM JSON, and the facts in them.

Stored as JSON: it is Unicode, so messages in different character sets merge, and the N-SET rule (whole attributes are
replaced) is one dictionary update.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from worklists.datasets.encoding import SPECIFIC_CHARACTER_SET, cut, decode, encode

Json = dict[str, Any]

SCHEDULED_STEP_ATTRIBUTES = "00400270"
STUDY_INSTANCE_UID = "0020000D"
STATUS = "00400252"
# N-CREATE type 1 (PS3.4 Table F.7.2-1), by keyword.
REQUIRED_AT_CREATION: Mapping[str, str] = {
    "ScheduledStepAttributesSequence": SCHEDULED_STEP_ATTRIBUTES,
    "PerformedProcedureStepID": "00400253",
    "PerformedStationAETitle": "00400241",
    "PerformedProcedureStepStartDate": "00400244",
    "PerformedProcedureStepStartTime": "00400245",
    "PerformedProcedureStepStatus": STATUS,
    "Modality": "00080060",
}
# Said at creation and not to be set later (PS3.4 Table F.7.2-1): what was scheduled, and the patient.
NOT_TO_BE_SET = frozenset({SCHEDULED_STEP_ATTRIBUTES, "00100010", "00100020", "00100021", "00100030", "00100040"})
_PATIENT_NAME, _PATIENT_ID, _ISSUER_OF_PATIENT_ID = "00100010", "00100020", "00100021"
_ACCESSION_NUMBER, _REQUESTED_PROCEDURE_ID, _SPS_ID = "00080050", "00401001", "00400009"
_PERFORMED_SERIES, _SERIES_INSTANCE_UID, _PROTOCOL_NAME = "00400340", "0020000E", "00181030"
_REFERENCED_IMAGES, _REFERENCED_OTHERS = "00081140", "00400220"
_SOP_CLASS_UID, _SOP_INSTANCE_UID = "00081150", "00081155"
_DISCONTINUATION_REASON, _CODE_VALUE = "00400281", "00080100"


@dataclass(frozen=True, slots=True)
class StepReference:
    """One item of Scheduled Step Attributes Sequence: which step the modality says it performs."""

    study_instance_uid: str
    accession_number: str
    requested_procedure_id: str
    sps_id: str

    @property
    def is_scheduled(self) -> bool:
        """A Study Instance UID alone is the modality's own: an unscheduled step (PS3.4 F.7.2.1).

        So it is beside an accession number that somebody typed in: that names an order, and no step of it.
        """
        return bool(self.requested_procedure_id or self.sps_id)


@dataclass(frozen=True, slots=True)
class SaidPatient:
    """Whom a modality says it examines; empty where it does not say."""

    patient_id: str
    issuer: str
    name: str


@dataclass(frozen=True, slots=True)
class PerformedSeries:
    series_instance_uid: str
    protocol_name: str
    # (SOP class UID, SOP instance UID)
    instances: tuple[tuple[str, str], ...]


def read_performed(data: bytes, transfer_syntax_uid: str, *, default_character_set: str = "") -> Json:
    """A peer's N-CREATE or N-SET data set. An attribute whose value cannot be read is left out. Raises Unreadable."""
    ds = decode(data, transfer_syntax_uid, default_character_set=default_character_set)
    read: Json = {}
    for tag in ds.keys():  # noqa: SIM118  iterating a Dataset decodes
        try:
            read[f"{tag:08X}"] = _without_nul(ds[tag].to_json_dict(None, 1024))
        # Values that are none of their VR fail in as many ways as there are VRs; the others still count.
        except Exception:  # noqa: S112, BLE001, RUF100
            continue
    return read


def write_performed(performed: Json, transfer_syntax_uid: str, *, only: Collection[int] = ()) -> bytes:
    """What is stored as a data set in UTF-8; only these tags, unless there are none."""
    kept = {tag: element for tag, element in performed.items() if not only or int(tag, 16) in only}
    # (0008,0005) is how it was sent; it is Unicode now.
    kept[f"{SPECIFIC_CHARACTER_SET:08X}"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    wanted = dict.fromkeys(int(tag, 16) for tag in kept)
    return cut(encode(Dataset.from_json(kept)), wanted, implicit=transfer_syntax_uid == ImplicitVRLittleEndian)


def _without_nul(value: Any) -> Any:
    """PostgreSQL keeps no NUL in text."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, dict):
        return {key: _without_nul(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_nul(each) for each in value]
    return value


def text_of(item: Json, tag: str) -> str:
    """The first value of an attribute as text, or empty."""
    values = item.get(tag, {}).get("Value") or [""]
    return "" if values[0] is None or isinstance(values[0], dict) else str(values[0]).strip()


def items_of(item: Json, tag: str) -> list[Json]:
    """The items of a sequence, or none."""
    return [each for each in item.get(tag, {}).get("Value") or [] if isinstance(each, dict)]


def step_references(performed: Json) -> list[StepReference]:
    return [
        StepReference(
            text_of(item, STUDY_INSTANCE_UID),
            text_of(item, _ACCESSION_NUMBER),
            text_of(item, _REQUESTED_PROCEDURE_ID),
            text_of(item, _SPS_ID),
        )
        for item in items_of(performed, SCHEDULED_STEP_ATTRIBUTES)
    ]


def said_patient(performed: Json) -> SaidPatient:
    names: list[Mapping[str, str]] = performed.get(_PATIENT_NAME, {}).get("Value") or [{}]
    groups = (names[0] or {}).values()
    return SaidPatient(
        text_of(performed, _PATIENT_ID), text_of(performed, _ISSUER_OF_PATIENT_ID), "=".join(filter(None, groups))
    )


def performed_series(performed: Json) -> list[PerformedSeries]:
    return [
        PerformedSeries(
            text_of(item, _SERIES_INSTANCE_UID),
            text_of(item, _PROTOCOL_NAME),
            tuple(
                (text_of(each, _SOP_CLASS_UID), text_of(each, _SOP_INSTANCE_UID))
                for each in [*items_of(item, _REFERENCED_IMAGES), *items_of(item, _REFERENCED_OTHERS)]
                if text_of(each, _SOP_INSTANCE_UID)
            ),
        )
        for item in items_of(performed, _PERFORMED_SERIES)
    ]


def discontinuation_reason(performed: Json) -> str:
    """The code value of Performed Procedure Step Discontinuation Reason Code Sequence, or empty."""
    items = items_of(performed, _DISCONTINUATION_REASON)
    return text_of(items[0], _CODE_VALUE)[:16] if items else ""
