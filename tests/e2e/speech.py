"""What a RIS and a modality say in these tests, written by hand."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def order(
    *, number: str, patient_id: str, name: str, day: str, control: str = "NW", status: str = "SC", control_id: str = ""
) -> str:
    """ORM^O01 of a CT on CT_NORTH; `number` makes placer, filler, accession, procedure and step ids."""
    code = "CTCH^CT chest^L"
    return "\r".join(
        [
            f"MSH|^~\\&|RIS|NORTH|FIDUCIAL|FIDUCIAL|{day}080000||ORM^O01^ORM_O01|{control_id or control + number}"
            "|P|2.5.1||||||UNICODE UTF-8",
            f"PID|1||{patient_id}^^^NORTH^MR||{name}||19680314|F",
            f"PV1|1|O|RAD||||||||||||||||V{number}^^^NORTH^VN",
            f"ORC|{control}|P{number}^HIS|F{number}^RIS||{status}||1^^^{day}090000^^R||{day}080000|||||||||CT_NORTH^^L",
            f"OBR|1|P{number}^HIS|F{number}^RIS|{code}^{code}||||||||||||||A{number}|RP{number}|SPS{number}||||CT|||"
            f"1^^^{day}090000^^R|||||||||||||||||{code}",
        ]
    ) + "\r"  # fmt: skip


def new_name(*, patient_id: str, name: str, day: str) -> str:
    """ADT^A08, later that day."""
    return (
        f"MSH|^~\\&|HIS|NORTH|FIDUCIAL|FIDUCIAL|{day}090000||ADT^A08^ADT_A01|A08{patient_id}"
        "|P|2.5.1||||||UNICODE UTF-8\r"
        f"EVN|A08|{day}090000\r"
        f"PID|1||{patient_id}^^^NORTH^MR||{name}||19680314|F\r"
        "PV1|1|O\r"
    )


def ct(
    folder: Path, identity: Mapping[str, str], *, day: str, count: int = 2, study_instance_uid: str = ""
) -> tuple[str, list[Path]]:
    """A small CT series as files; `identity` are DICOM keywords. Answers the study UID and the files."""
    study_instance_uid = study_instance_uid or generate_uid()
    series_instance_uid = generate_uid()
    files = []
    for number in range(1, count + 1):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study_instance_uid, series_instance_uid
        ds.StudyDate = ds.ContentDate = day
        ds.StudyTime, ds.Modality, ds.StationName = "090500", "CT", "CT_NORTH"
        ds.StudyDescription, ds.InstanceNumber, ds.SeriesNumber = "CT chest", str(number), "1"
        for keyword, value in identity.items():
            setattr(ds, keyword, value)
        ds.Rows = ds.Columns = 32
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.PixelData = np.full((32, 32), number, dtype="<u2").tobytes()
        path = folder / f"{ds.SOPInstanceUID}.dcm"
        ds.save_as(path, enforce_file_format=True)
        files.append(path)
    return study_instance_uid, files
