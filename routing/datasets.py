"""Renditions: a received file with the corrections of its claim laid over (docs/adr/0002)."""

import copy
import hashlib
import json
import shutil
import warnings
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from pydicom import dcmread
from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_file_meta_info, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.valuerep import PN_DELIMS

from orchestrator.datasets import assume_character_set, text_of
from orchestrator.services.corrections import QUALIFIERS

ORIGINAL = "original"
# Attributes are read into memory: none may be larger, and no deflated object may become larger (a bomb).
_LARGEST_VALUE = 1 << 28
# From Extended Offset Table (7FE0,0001) on: bulk data, copied and never read.
_BULK = 0x7FE00001
_UNDEFINED = 0xFFFFFFFF


class NoRendition(Exception):
    """The corrections cannot be laid over this file; the text says why, without its content."""


def rendition_of(corrections: Mapping[str, tuple[str, str]]) -> str:
    """The name of a rendition: a digest over its corrections {keyword: (old, new)}; "original" without any."""
    if not corrections:
        return ORIGINAL
    rows = sorted((keyword, new) for keyword, (_, new) in corrections.items())
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def write_rendition(
    source: Path,
    target: Path,
    corrections: Mapping[str, tuple[str, str]],
    *,
    sender: str,
    reason: str = "CORRECT",
    default_character_set: str = "",
) -> None:
    """Write `source` with corrections and Original Attributes Sequence (PS3.3 C.12.1.1.9).

    Everything else keeps its bytes: pixels are copied, not read, and text is encoded anew (as Unicode) only where the
    object's own character set cannot say a new value. `reason`: CORRECT, what was wrong, or COERCE, what the record
    says otherwise. `default_character_set`: what the sender means when it names none. Raises NoRendition.
    """
    try:
        with warnings.catch_warnings(), source.open("rb") as file:
            # Hostile content: what cannot be decoded is replaced, and said nowhere.
            warnings.simplefilter("ignore")
            deflated = _is_deflated(source)
            ds = read_partial(file, stop_when=_is_bulk)
            _lay_over(ds, corrections, sender=sender, reason=reason, default_character_set=default_character_set)
            if deflated:
                # Its bulk data stands inside the deflated stream.
                ds.update({tag: each for tag, each in dcmread(source).items() if tag >= _BULK})
            ds.save_as(target, enforce_file_format=True)
            if not deflated:
                with target.open("ab") as written:
                    shutil.copyfileobj(file, written, 1 << 20)
    except (OSError, NoRendition):
        raise
    except Exception as error:
        raise NoRendition(f"The corrections cannot be laid over this object ({type(error).__name__}).") from error


def _is_bulk(tag: BaseTag, vr: str | None, length: int) -> bool:
    """Where reading stops. Raises NoRendition at an attribute before that which is too large."""
    if tag >= _BULK:
        return True
    if _LARGEST_VALUE < length < _UNDEFINED:
        raise NoRendition(f"The corrections cannot be laid over this object: its attribute {tag} is too large.")
    return False


def _is_deflated(source: Path) -> bool:
    """Whether its data set is deflated. Raises NoRendition where it would become too large."""
    meta = read_file_meta_info(source)
    if meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:
        return False
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with source.open("rb") as file:
        # Preamble, prefix and the group length itself stand before what it counts (PS3.10 7.1).
        file.seek(144 + meta.FileMetaInformationGroupLength)
        while block := inflater.unconsumed_tail or file.read(1 << 16):
            size += len(inflater.decompress(block, 1 << 20))
            if size > _LARGEST_VALUE:
                raise NoRendition("The corrections cannot be laid over this object: inflated it is too large.")
    return True


def _lay_over(
    ds: FileDataset,
    corrections: Mapping[str, tuple[str, str]],
    *,
    sender: str,
    reason: str,
    default_character_set: str,
) -> None:
    if not _can_say(ds, [new for _, new in corrections.values()]):
        assume_character_set(ds, default_character_set)
        if default_character_set and not ds.get("SpecificCharacterSet"):
            ds.SpecificCharacterSet = default_character_set
        ds.decode()
        ds.SpecificCharacterSet = "ISO_IR 192"
    values = _values(ds, corrections)
    item = _modified(ds, values, sender, reason)
    for keyword, new in values.items():
        if new == []:
            del ds[keyword]
        else:
            setattr(ds, keyword, new)
    ds.OriginalAttributesSequence = [*ds.get("OriginalAttributesSequence", []), item]


def _values(ds: Dataset, corrections: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """What is to stand at the top level of the object, by keyword; corrections inside of sequences make these anew."""
    values: dict[str, Any] = {key: new for key, (_, new) in corrections.items() if key not in QUALIFIERS}
    if corrections.keys() & {"PatientID", *QUALIFIERS}:
        issuer = _issuer(ds, corrections)
        if issuer or "IssuerOfPatientIDQualifiersSequence" in ds:
            values["IssuerOfPatientIDQualifiersSequence"] = issuer
    if "AccessionNumber" in corrections and (requests := _requests(ds, *corrections["AccessionNumber"])):
        values["RequestAttributesSequence"] = requests
    return values


def _requests(ds: Dataset, received: str, current: str) -> list[Dataset]:
    """Request Attributes (0040,0275) under the current accession number, if an item has the received one."""
    items = copy.deepcopy(list(ds.get("RequestAttributesSequence") or []))
    named = [item for item in items if received and text_of(item, "AccessionNumber") == received]
    for item in named:
        item.AccessionNumber = current
    return items if named else []


def _issuer(ds: Dataset, corrections: Mapping[str, tuple[str, str]]) -> list[Dataset]:
    """Issuer of Patient ID Qualifiers (0010,0024) with a universal id alone: all else was said of the received ID."""
    [received, *_] = ds.get("IssuerOfPatientIDQualifiersSequence") or [Dataset()]
    item = Dataset()
    for keyword in QUALIFIERS:
        value = corrections[keyword][1] if keyword in corrections else received.get(keyword)
        if value:
            setattr(item, keyword, value)
    return [item] if "UniversalEntityID" in item else []


def _modified(ds: Dataset, keywords: Iterable[str], sender: str, reason: str) -> Dataset:
    """An item of Original Attributes Sequence: what is changed now, as it was; empty where it was absent."""
    before = Dataset()
    for keyword in keywords:
        if keyword in ds:
            # A copy: the element in `ds` is about to get its new value.
            before[keyword] = copy.deepcopy(ds[keyword])
        else:
            setattr(before, keyword, [] if dictionary_VR(keyword) == "SQ" else "")
    item = Dataset()
    item.SourceOfPreviousValues = sender
    item.AttributeModificationDateTime = datetime.now(tz=UTC).strftime("%Y%m%d%H%M%S+0000")
    item.ModifyingSystem = settings.AE_TITLE
    item.ReasonForTheAttributeModification = reason
    item.ModifiedAttributesSequence = [before]
    return item


def _can_say(ds: Dataset, values: Iterable[str]) -> bool:
    """Whether the data set's character set, as it stands, has all characters of these values."""
    charset = ds.get("SpecificCharacterSet")
    if all(value.isascii() for value in values):
        return True
    if not charset:
        return False
    encodings = convert_encodings(charset)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return all(decode_bytes(encode_string(each, encodings), encodings, PN_DELIMS) == each for each in values)
        except (UserWarning, ValueError):
            return False
