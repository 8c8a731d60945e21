"""Reading and encoding data sets: the only room of the ground below the wires that speaks pydicom.

Whatever is read here is hostile: depth, lengths and character sets are somebody else's.
"""

import contextlib
import hashlib
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import config
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset, read_partial
from pydicom.filewriter import write_dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from orchestrator.datasets.plain import NotPlain, read_plain

config.settings.reading_validation_mode = config.IGNORE

# Nothing that identifies an object stands behind Request Attributes Sequence.
_LAST_TAG = 0x00400275
# As much as is read (what is skipped does not count), or inflated, for it; and in how many pieces: two an element.
_IDENTITY_BYTES, _IDENTITY_READS = 4 << 20, 50_000
_TAGS: list[BaseTag | int] = [Tag(keyword) for keyword in (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "Modality",
    "StationName", "StudyDescription", "SeriesDescription", "PatientName", "PatientID", "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence", "PatientBirthDate", "PatientSex", "BodyPartExamined", "StudyInstanceUID",
    "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "NumberOfFrames", "RequestAttributesSequence",
)]  # fmt: skip

_TAG_OF = {keyword_for_tag(tag): int(tag) for tag in _TAGS} | {
    keyword: int(Tag(keyword)) for keyword in ("UniversalEntityID", "RequestedProcedureID", "ScheduledProcedureStepID")
}
_VR_OF = {tag: dictionary_VR(tag).encode() for tag in _TAG_OF.values()}
# Deflated Explicit VR Little Endian, JPIP Referenced Deflate, JPIP HTJ2K Referenced Deflate.
_DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
# What identifies a plain object stands in so many first bytes.
_PLAIN_BYTES = 65536
_Text = Callable[[str], str]


class Unreadable(Exception):
    """These bytes are not a data set that can be read; the text says where it ends."""


@dataclass(frozen=True)
class Header:
    """The attributes that identify an object, as Unicode text, padding trimmed; empty when absent."""

    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    issuer: str
    issuer_universal_id: str
    patient_name: str
    birth_date: str
    sex: str
    accession_number: str
    requested_procedure_id: str
    sps_id: str
    modality: str
    station_name: str
    study_date: str
    study_time: str
    study_description: str
    series_number: str
    series_description: str
    body_part_examined: str
    instance_number: str
    number_of_frames: int


def read_header(path: Path, *, default_character_set: str = "") -> Header:
    """The header of a DICOM file (PS3.10), read only as far as identity goes. Raises Unreadable."""
    try:
        with warnings.catch_warnings(), _Sparing(FileIO(path)) as file:
            warnings.simplefilter("ignore")
            syntax = _transfer_syntax_of(file)
            with contextlib.suppress(NotPlain):
                return _plain_header(file, syntax)
            file.seek(0)
            if syntax in _DEFLATED:
                ds = _inflated(file)
            else:
                ds = read_partial(file, stop_when=_is_behind_identity, specific_tags=_TAGS)
            assume_character_set(ds, default_character_set)
            return _header_of(ds, syntax)
    except (Exception, RecursionError) as error:
        # pydicom raises whatever the bytes lead it to; each of them means the same here.
        raise Unreadable(f"{type(error).__name__}: {error}"[:200]) from error


class _Sparing(BufferedReader):
    """A file of which only so much is read, whatever lengths the elements in it claim to have."""

    _left, _reads_left = _IDENTITY_BYTES, _IDENTITY_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= size or 0
        self._reads_left -= 1
        if size is None or size < 0 or self._left < 0 or not self._reads_left:
            raise Unreadable("too much stands before what identifies it")
        return super().read(size)


def _transfer_syntax_of(file: BinaryIO) -> str:
    """(0002,0010) of a DICOM file."""
    file.seek(144)
    meta = file.read(end_of_file_meta(file) - 144)
    file.seek(0)
    at = meta.index(b"\x02\x00\x10\x00UI")
    return meta[at + 8 :][: int.from_bytes(meta[at + 6 : at + 8], "little")].decode("ascii").rstrip("\0 ")


def _inflated(file: BinaryIO) -> Dataset:
    """What identifies an object whose data set is deflated (PS3.5 A.5); a bomb is inflated only so far."""
    file.seek(end_of_file_meta(file))
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(_IDENTITY_BYTES // 2), _IDENTITY_BYTES)
    return read_dataset(BytesIO(inflated), False, True, stop_when=_is_behind_identity, specific_tags=_TAGS)


def _is_behind_identity(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) > _LAST_TAG


def assume_character_set(ds: Dataset, character_set: str) -> None:
    """Decode what is still bytes by this character set, where a data set names none itself (empty: nothing is done)."""
    if not character_set or ds.get("SpecificCharacterSet"):
        return
    # Setting (0008,0005) alone is not enough: pydicom decodes by what it found when it read.
    implicit_vr, little_endian = ds.original_encoding
    ds.set_original_encoding(implicit_vr, little_endian, character_set)
    for element in ds.values():
        if isinstance(element, DataElement) and element.VR == "SQ":
            for item in element.value:
                assume_character_set(item, character_set)


def _plain_header(file: BinaryIO, transfer_syntax_uid: str) -> Header:
    """Raises NotPlain."""
    file.seek(0)
    begin = file.read(_PLAIN_BYTES)
    at = 144 + int.from_bytes(begin[140:144], "little")
    whole = len(begin) < _PLAIN_BYTES
    found = read_plain(begin, at, transfer_syntax_uid, _VR_OF, last_tag=_LAST_TAG, whole=whole)
    return _header(
        lambda keyword: found.text(_TAG_OF[keyword]),
        lambda keyword: found.item_text(_TAG_OF["RequestAttributesSequence"], _TAG_OF[keyword]),
        lambda keyword: found.item_text(_TAG_OF["IssuerOfPatientIDQualifiersSequence"], _TAG_OF[keyword]),
        transfer_syntax_uid,
    )


def _header_of(ds: Any, transfer_syntax_uid: str) -> Header:
    requests = ds.get("RequestAttributesSequence") or [Dataset()]
    qualifiers = ds.get("IssuerOfPatientIDQualifiersSequence") or [Dataset()]
    return _header(
        partial(text_of, ds), partial(text_of, requests[0]), partial(text_of, qualifiers[0]), transfer_syntax_uid
    )


def _header(text: _Text, of_request: _Text, of_qualifier: _Text, transfer_syntax_uid: str) -> Header:
    frames = text("NumberOfFrames")
    return Header(
        transfer_syntax_uid=transfer_syntax_uid,
        sop_class_uid=text("SOPClassUID"),
        sop_instance_uid=text("SOPInstanceUID"),
        study_instance_uid=text("StudyInstanceUID"),
        series_instance_uid=text("SeriesInstanceUID"),
        patient_id=text("PatientID"),
        issuer=text("IssuerOfPatientID"),
        issuer_universal_id=of_qualifier("UniversalEntityID"),
        patient_name=text("PatientName"),
        birth_date=text("PatientBirthDate"),
        sex=text("PatientSex"),
        accession_number=text("AccessionNumber") or of_request("AccessionNumber"),
        requested_procedure_id=of_request("RequestedProcedureID"),
        sps_id=of_request("ScheduledProcedureStepID"),
        modality=text("Modality"),
        station_name=text("StationName"),
        study_date=text("StudyDate"),
        study_time=text("StudyTime"),
        study_description=text("StudyDescription"),
        series_number=text("SeriesNumber"),
        series_description=text("SeriesDescription"),
        body_part_examined=text("BodyPartExamined"),
        instance_number=text("InstanceNumber"),
        number_of_frames=int(frames) if frames.isdigit() and len(frames) < 7 else 1,
    )


def text_of(ds: Any, keyword: str) -> str:
    """A value as text without padding or control characters; the first of several; empty when absent."""
    value = ds.get(keyword)
    if value is None:
        return ""
    text = str(value[0] if isinstance(value, MultiValue) and value else value)
    return "".join(c for c in text if c.isprintable()).strip()


def digest_of(path: Path) -> str:
    """sha256 over the data set's bytes, without preamble and file meta: the same object, whoever sent it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(end_of_file_meta(file))
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def end_of_file_meta(file: BinaryIO) -> int:
    """Where the data set begins: (0002,0000) File Meta Information Group Length says (PS3.10 7.1)."""
    file.seek(132)
    group_length = file.read(12)
    return 144 + int.from_bytes(group_length[8:12], "little")


def decode(dataset: bytes, transfer_syntax_uid: str) -> Dataset:
    """An encoded data set of a DIMSE message. Raises Unreadable."""
    syntax = UID(transfer_syntax_uid)
    try:
        ds = read_dataset(BytesIO(dataset), syntax.is_implicit_VR, syntax.is_little_endian)
        ds.decode()
    except (Exception, RecursionError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}"[:200]) from error
    return ds


def encode(ds: Dataset, transfer_syntax_uid: str) -> bytes:
    """A data set for a DIMSE message."""
    syntax = UID(transfer_syntax_uid)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax.is_implicit_VR, syntax.is_little_endian
    write_dataset(buffer, ds)
    return buffer.getvalue()
