"""A peer's worklist identifier: what it matches, and what it wants back (PS3.4 K.4.1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.charset import decode_bytes, default_encoding
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset

from worklists.datasets.encoding import Unreadable, Wanted, decode
from worklists.matching import (
    BadKey,
    Keys,
    alternatives,
    date_range,
    name_alternatives,
    start_ranges,
    time_range,
)

_STEP = "ScheduledProcedureStepSequence"
_STEP_TAG = 0x00400100
# Keyword → column of a worklist entry.
_COLUMNS = {
    "PatientID": "patient_id",
    "AccessionNumber": "accession_number",
    "RequestedProcedureID": "requested_procedure_id",
    "StudyInstanceUID": "study_instance_uid",
}
_STEP_COLUMNS = {"Modality": "modality", "ScheduledProcedureStepID": "sps_id"}
_MATCHED = {*_COLUMNS, "PatientName"}
_MATCHED_IN_STEP = {
    *_STEP_COLUMNS,
    "ScheduledStationAETitle",
    "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime",
    "ScheduledPerformingPhysicianName",
}


def _tags(*keywords: str) -> frozenset[int]:
    return frozenset(tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None)


# Attributes that we know how to answer (datasets/entry.py); asking for others earns FF01.
_ANSWERED = _tags(
    "AccessionNumber", "IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "ReferencedStudySequence",
    "ReferencedPatientSequence", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "IssuerOfPatientIDQualifiersSequence", "OtherPatientIDsSequence", "PatientSize", "PatientWeight", "MedicalAlerts",
    "Allergies", "PregnancyStatus", "StudyInstanceUID", "RequestingPhysician", "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence", "AdmissionID", "IssuerOfAdmissionIDSequence", "SpecialNeeds",
    "CurrentPatientLocation", "PatientState", _STEP, "RequestedProcedureID", "ReasonForTheRequestedProcedure",
    "RequestedProcedurePriority", "PatientTransportArrangements", "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest", "ConfidentialityConstraintOnPatientDataDescription",
)  # fmt: skip
_ANSWERED_IN_STEP = _tags(
    *_MATCHED_IN_STEP, "ScheduledProcedureStepDescription", "ScheduledProtocolCodeSequence", "ScheduledStationName",
    "ScheduledProcedureStepLocation", "PreMedication", "RequestedContrastAgent", "ScheduledProcedureStepStatus",
)  # fmt: skip
# Specific Character Set, Query/Retrieve Level (some send it), Timezone Offset, Mapping Resource's kin: never keys.
_NO_KEYS = frozenset({0x00080005, 0x00080052, 0x00080201, 0x0040A390})
_UID = re.compile(r"[0-9.]*")


@dataclass(frozen=True, slots=True)
class Question:
    """A decoded worklist identifier."""

    keys: Keys
    wanted: Wanted
    # False when a key was not matched or an attribute is not ours to answer: pending as FF01.
    all_supported: bool
    # The one station AE title that is asked for; empty when there are none, several, or wildcards.
    station: str
    # {keyword: value}, only keys with a value, for the record.
    asked: Mapping[str, str]


def read_question(data: bytes, transfer_syntax_uid: str, *, default_character_set: str = "") -> Question:
    """Raises Unreadable for bytes that are no data set and BadKey for keys that cannot be matched."""
    ds = decode(data, transfer_syntax_uid, default_character_set=default_character_set)
    steps = _items(ds, _STEP_TAG)
    if len(steps) > 1:
        raise BadKey(_STEP, "has more than one item")
    top, in_step = _texts(ds), _texts(steps[0]) if steps else {}
    wanted = _wanted(ds)
    if not wanted:
        raise BadKey("Identifier", "is empty")
    supported = (
        wanted.keys() <= _ANSWERED
        and (wanted.get(_STEP_TAG) or {}).keys() <= _ANSWERED_IN_STEP
        and top.keys() <= _MATCHED
        and in_step.keys() <= _MATCHED_IN_STEP
        and not _has_keys_in_other_sequences(ds, steps)
    )
    keys = _keys(top, in_step)
    stations = [title for title in keys.station_ae_titles if not {"*", "?"} & set(title)]
    station = stations[0] if len(stations) == len(keys.station_ae_titles) == 1 else ""
    return Question(keys, wanted, supported, station, {**top, **in_step})


def _keys(top: Mapping[str, str], step: Mapping[str, str]) -> Keys:
    columns: dict[str, tuple[str, ...]] = {}
    for texts, names in ((top, _COLUMNS), (step, _STEP_COLUMNS)):
        for keyword, column in names.items():
            if globs := alternatives(keyword, texts.get(keyword, "")):
                columns[column] = globs
    if not all(_UID.fullmatch(uid) for uid in columns.get("study_instance_uid", ())):
        raise BadKey("StudyInstanceUID", "is not a UID")
    date, time = "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"
    start, start_time = start_ranges(
        date_range(date, "" if step.get(date) == "*" else step.get(date, "")),
        time_range(time, "" if step.get(time) == "*" else step.get(time, "")),
    )
    physician, station = "ScheduledPerformingPhysicianName", "ScheduledStationAETitle"
    return Keys(
        columns=columns,
        station_ae_titles=alternatives(station, step.get(station, "")),
        patient_names=name_alternatives("PatientName", top.get("PatientName", "")),
        performing_physician_names=name_alternatives(physician, step.get(physician, "")),
        start=start,
        start_time=start_time,
    )


def _is_key(tag: int) -> bool:
    """Not a group length and not something that only describes the others."""
    return tag & 0xFFFF != 0 and tag not in _NO_KEYS


def _vr(ds: Dataset, tag: int) -> str:
    """The VR without decoding the value."""
    element = ds.get_item(tag)
    try:
        return str(element.VR or dictionary_VR(tag))
    except KeyError:
        return "UN"


def _items(ds: Dataset, tag: int) -> list[Dataset]:
    if tag not in ds or _vr(ds, tag) != "SQ":
        return []
    try:
        return list(ds[tag].value or [])
    # Damaged inside: the same many ways as decode().
    except Exception as error:
        raise Unreadable(type(error).__name__) from error


def _texts(ds: Dataset) -> dict[str, str]:
    """{keyword (or tag): value} of the attributes that have a value and are no sequences."""
    tags = [tag for tag in ds.keys() if _is_key(tag) and _vr(ds, tag) != "SQ"]  # noqa: SIM118  iterating a Dataset decodes
    texts = {keyword_for_tag(tag) or f"{tag:08X}": _text(ds, tag) for tag in tags}
    return {keyword: text for keyword, text in texts.items() if text}


def _text(ds: Dataset, tag: int) -> str:
    """A value as text, whatever its VR: a number that is none is still a key that we do not match."""
    value: Any = ds.get_item(tag).value
    if not isinstance(value, bytes):
        return "" if value is None else str(value)
    codecs = ds.original_character_set or default_encoding
    return decode_bytes(value, [codecs] if isinstance(codecs, str) else list(codecs), set()).strip(" \0")


def _wanted(ds: Dataset) -> dict[int, Wanted | None]:
    """An empty sequence, or one empty item, asks for the whole sequence (PS3.4 C.2.2.2.6)."""
    wanted: dict[int, Wanted | None] = {}
    for tag in ds.keys():  # noqa: SIM118
        if _is_key(tag):
            items = _items(ds, tag)
            wanted[int(tag)] = (_wanted(items[0]) or None) if items else None
    return wanted


def _has_keys_in_other_sequences(ds: Dataset, steps: list[Dataset]) -> bool:
    for level in (ds, *steps):
        for tag in level.keys():  # noqa: SIM118
            if tag != _STEP_TAG and any(_texts(item) for item in _items(level, tag)):
                return True
    return False
