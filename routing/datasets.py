"""Renditions: a received file with the corrections of its claim laid over (docs/adr/0002)."""

import copy
import hashlib
import json
import shutil
import warnings
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from pydicom import dcmread
from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_partial
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.valuerep import PN_DELIMS

from orchestrator.datasets import assume_character_set

ORIGINAL = "original"
# From Extended Offset Table (7FE0,0001) on: bulk data, copied and never read.
_BULK = 0x7FE00001


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
    default_character_set: str = "",
) -> None:
    """Write `source` with corrections and Original Attributes Sequence (PS3.3 C.12.1.1.9).

    Everything else keeps its bytes: pixels are copied, not read, and text is encoded anew (as Unicode) only where the
    object's own character set cannot say a new value. `default_character_set`: what the sender means when it names
    none. Raises NoRendition.
    """
    try:
        with warnings.catch_warnings(), source.open("rb") as file:
            # Hostile content: what cannot be decoded is replaced, and said nowhere.
            warnings.simplefilter("ignore")
            ds = read_partial(file, stop_when=lambda tag, vr, length: tag >= _BULK)
            _lay_over(ds, corrections, sender=sender, default_character_set=default_character_set)
            deflated = ds.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
            if deflated:
                # Its bulk data stands inside the deflated stream.
                ds.update({tag: each for tag, each in dcmread(source).items() if tag >= _BULK})
            ds.save_as(target, enforce_file_format=True)
            if not deflated:
                with target.open("ab") as written:
                    shutil.copyfileobj(file, written, 1 << 20)
    except OSError:
        raise
    except Exception as error:
        raise NoRendition(f"The corrections cannot be laid over this object ({type(error).__name__}).") from error


def _lay_over(
    ds: FileDataset, corrections: Mapping[str, tuple[str, str]], *, sender: str, default_character_set: str
) -> None:
    if not _can_say(ds, [new for _, new in corrections.values()]):
        assume_character_set(ds, default_character_set)
        if default_character_set and not ds.get("SpecificCharacterSet"):
            ds.SpecificCharacterSet = default_character_set
        ds.decode()
        ds.SpecificCharacterSet = "ISO_IR 192"
    item = _modified(ds, corrections, sender)
    for keyword, (_, new) in corrections.items():
        setattr(ds, keyword, new)
    ds.OriginalAttributesSequence = [*ds.get("OriginalAttributesSequence", []), item]


def _modified(ds: Dataset, keywords: Iterable[str], sender: str) -> Dataset:
    """An item of Original Attributes Sequence: what is changed now, as it was; empty where it was absent."""
    before = Dataset()
    for keyword in keywords:
        if keyword in ds:
            # A copy: the element in `ds` is about to get its new value.
            before[keyword] = copy.deepcopy(ds[keyword])
        else:
            setattr(before, keyword, "")
    item = Dataset()
    item.SourceOfPreviousValues = sender
    item.AttributeModificationDateTime = datetime.now(tz=UTC).strftime("%Y%m%d%H%M%S+0000")
    item.ModifyingSystem = settings.AE_TITLE
    item.ReasonForTheAttributeModification = "CORRECT"
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
