"""Renditions: a received file with the corrections of its claim laid over (docs/adr/0002)."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from pydicom import dcmread
from pydicom.dataset import Dataset

ORIGINAL = "original"


def rendition_of(corrections: Mapping[str, tuple[str, str]]) -> str:
    """The name of a rendition: a digest over its corrections {keyword: (old, new)}; "original" without any."""
    if not corrections:
        return ORIGINAL
    rows = sorted((keyword, new) for keyword, (_, new) in corrections.items())
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def write_rendition(source: Path, target: Path, corrections: Mapping[str, tuple[str, str]], *, sender: str) -> None:
    """Write `source` with corrections and Original Attributes Sequence (PS3.3 C.12.1.1.9). Pixels stay as they are."""
    ds = dcmread(source, defer_size=1 << 20)
    modified = Dataset()
    for keyword in corrections:
        if keyword in ds:
            modified[keyword] = ds[keyword]
        else:
            setattr(modified, keyword, "")
    item = Dataset()
    item.SourceOfPreviousValues = sender
    item.AttributeModificationDateTime = datetime.now(tz=UTC).strftime("%Y%m%d%H%M%S+0000")
    item.ModifyingSystem = settings.AE_TITLE
    item.ReasonForTheAttributeModification = "CORRECT"
    item.ModifiedAttributesSequence = [modified]
    # Decode everything while the old character set still holds; it is written anew as Unicode.
    ds.decode()
    ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword, (_, new) in corrections.items():
        setattr(ds, keyword, new)
    ds.OriginalAttributesSequence = [*ds.get("OriginalAttributesSequence", []), item]
    ds.save_as(target, enforce_file_format=True)
