"""The quick way to read a header says what pydicom says, or leaves it to pydicom."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_partial
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from orchestrator import datasets
from orchestrator.datasets.plain import NotPlain, read_plain

TEXT = st.text("AZaz09^ -äß\\\x00\t=", max_size=20)
NUMBER = st.one_of(st.sampled_from(["", "1", " 7 ", "0012", "+3", "-1"]), st.integers(0, 10**6).map(str))
NAME = st.sampled_from(["", "1.2.3", "2.25.12345"])


def dataset(values: dict[str, str], request: dict[str, str] | None, character_set: str) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet, ds.SOPClassUID, ds.SOPInstanceUID = character_set, CTImageStorage, "1.2.3.4"
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    if request is not None:
        item = Dataset()
        for keyword, value in request.items():
            setattr(item, keyword, value)
        ds.RequestAttributesSequence = [item]
    ds.Rows, ds.PixelData = 2, bytes(8)
    ds["PixelData"].VR = "OW"
    return ds


def saved(folder: Path, ds: Dataset, syntax: UID) -> Path:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    path = folder / "object.dcm"
    path.write_bytes(buffer.getvalue())
    return path


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=60)
@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            "PatientName": TEXT, "PatientID": TEXT, "AccessionNumber": TEXT, "StudyDescription": TEXT, "Modality": TEXT,
            "StudyInstanceUID": NAME, "SeriesInstanceUID": NAME, "SeriesNumber": NUMBER, "InstanceNumber": NUMBER,
            "NumberOfFrames": NUMBER, "StudyDate": st.sampled_from(["", "20261127"]), "StudyTime": TEXT,
        },
    ),
    request=st.none() | st.fixed_dictionaries({}, optional={"ScheduledProcedureStepID": TEXT, "AccessionNumber": TEXT}),
    character_set=st.sampled_from(["", "ISO_IR 6", "ISO_IR 100", "ISO_IR 192", "ISO_IR 144"]),
    syntax=st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]),
    default=st.sampled_from(["", "ISO_IR 100"]),
)  # fmt: skip
def test_it_says_what_pydicom_says(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, str], request: dict[str, str] | None,
    character_set: str, syntax: UID, default: str,
) -> None:  # fmt: skip
    try:
        path = saved(tmp_path_factory.getbasetemp(), dataset(values, request, character_set), syntax)
    except (UnicodeEncodeError, ValueError):
        return
    quick = datasets.read_header(path, default_character_set=default)
    with patch.object(datasets, "_plain_header", side_effect=NotPlain):
        assert quick == datasets.read_header(path, default_character_set=default)


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element in Explicit VR Little Endian, of even length."""
    value += b" " * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    long = vr in (b"OB", b"SQ", b"UN", b"UT")
    return head + (struct.pack("<xxI", len(value)) if long else struct.pack("<H", len(value))) + value


def undefined(tag: int, item: bytes) -> bytes:
    """A sequence of undefined length with one item of undefined length."""
    begin = struct.pack("<HH2sxxI", tag >> 16, tag & 0xFFFF, b"SQ", 0xFFFFFFFF)
    return (
        begin + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + item
        + struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )  # fmt: skip


def file_of(folder: Path, data: bytes, syntax: str = str(ExplicitVRLittleEndian)) -> Path:
    meta = element(0x00020010, b"UI", syntax.encode())
    path = folder / "object.dcm"
    path.write_bytes(bytes(128) + b"DICM" + element(0x00020000, b"UL", struct.pack("<I", len(meta))) + meta + data)
    return path


CLASS, PATIENT_ID = element(0x00080016, b"UI", b"1.2.3"), element(0x00100020, b"LO", b"0012345")
STUDY = element(0x0020000D, b"UI", b"1.2.4 ")
UNIVERSAL_ID = element(0x00400032, b"UT", b"a\\b")
LATIN_ITEM = element(0x00080005, b"CS", b"ISO_IR 100") + element(0x00400009, b"SH", "ÄB".encode("latin-1"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("data", "is_plain"),
    [
        (CLASS + undefined(0x00081140, element(0x00081155, b"UI", b"1.2")) + PATIENT_ID + STUDY, False),
        (CLASS + PATIENT_ID + STUDY + undefined(0x00400275, element(0x00400009, b"SH", b"S1")), False),
        (
            CLASS + element(0x00090010, b"LO", b"ACME") + element(0x00091001, b"UN", b"x") + PATIENT_ID + STUDY,
            True,
        ),
        (CLASS + element(0x00100020, b"US", struct.pack("<H", 7)) + STUDY, False),
        (CLASS + element(0x00100020, b"UT", b"a\\b") + STUDY, False),
        (CLASS + element(0x00100020, b"LO", b"a\\b") + STUDY, True),
        (
            CLASS + PATIENT_ID
            + element(0x00100024, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(UNIVERSAL_ID)) + UNIVERSAL_ID) + STUDY,
            False,
        ),
        (
            element(0x00080005, b"CS", b"ISO_IR 192") + CLASS + PATIENT_ID + STUDY
            + element(
                0x00400275, b"SQ",
                struct.pack("<HHI", 0xFFFE, 0xE000, len(LATIN_ITEM)) + LATIN_ITEM,
            ),
            True,
        ),
    ],
    ids=["an undefined length", "an undefined length that is wanted", "private elements", "a number as patient id",
         "a text as patient id", "two patient ids", "a backslash in a text", "an item's own character set"],
)  # fmt: skip
def test_what_is_unusual_says_what_pydicom_says(tmp_path: Path, data: bytes, is_plain: bool) -> None:
    path = file_of(tmp_path, data)
    with patch.object(datasets, "read_partial", wraps=read_partial) as pydicom:
        quick = datasets.read_header(path)
    assert pydicom.called is not is_plain
    with patch.object(datasets, "_plain_header", side_effect=NotPlain):
        assert quick == datasets.read_header(path)
    assert quick.sop_class_uid == "1.2.3"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"])
def test_what_is_deflated_is_inflated(tmp_path: Path, syntax: str) -> None:
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path = file_of(tmp_path, squeeze.compress(CLASS + PATIENT_ID + STUDY) + squeeze.flush(), syntax)
    assert datasets.read_header(path).patient_id == "0012345"


def test_a_usual_image_is_plain_and_pydicom_is_not_asked(tmp_path: Path) -> None:
    values = {"PatientName": "BERG^ÄDA", "PatientID": "0012345", "InstanceNumber": "7"}
    path = saved(tmp_path, dataset(values, {"ScheduledProcedureStepID": "S1"}, "ISO_IR 100"), ExplicitVRLittleEndian)
    with patch.object(datasets, "read_partial", side_effect=AssertionError):
        header = datasets.read_header(path)
    assert (header.patient_name, header.patient_id, header.sps_id) == ("BERG^ÄDA", "0012345", "S1")


@given(data=st.binary(max_size=200), implicit=st.booleans(), whole=st.booleans())
def test_noise_is_plain_or_is_not(data: bytes, implicit: bool, whole: bool) -> None:
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    try:
        found = read_plain(data, 0, syntax, {0x00100010: b"PN"}, last_tag=0x00400275, whole=whole)
        assert isinstance(found.text(0x00100010), str)
    except NotPlain:
        pass
