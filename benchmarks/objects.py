"""What is sent: CT images of a given size, and worklist entries; their bytes made before the clock starts."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from benchmarks.dicom import message, store_command

CT_EDGE, SMALL_EDGE = 512, 68
"""Pixels a side: 0.5 MB, and 10 KB with its header."""
TODAY = f"{datetime.now(tz=UTC):%Y%m%d}"
DESCRIPTION = "CT head"
ANSWERS = 20
"""Steps that each query finds."""
# The UIDs stand in the first bytes of a message: the rest is the same for all objects of a study.
_HEAD = 4096


def new_uid() -> str:
    """Always of the same length, so that one may be written over another."""
    return f"2.25.{random.randint(10**33, 10**34 - 1)}0000"  # noqa: S311  unique, not secret


def encoded(ds: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, ds)
    return buffer.getvalue()


def image(edge: int) -> Dataset:
    """A CT image, the first of a study of its own."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, new_uid()
    ds.StudyDate, ds.StudyTime, ds.Modality, ds.AccessionNumber = TODAY, "103000", "CT", "BENCH"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "BENCH^MARK", "BENCH", "19700101", "O"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = new_uid(), new_uid()
    ds.SeriesNumber, ds.InstanceNumber = "1", "1"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.Rows, ds.Columns = 1, "MONOCHROME2", edge, edge
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = random.Random(1).randbytes(edge * edge * 2)  # noqa: S311  noise: nothing to compress
    return ds


def image_of(number: str) -> Dataset:
    """A small one of the order that `benchmarks.hl7.order` places."""
    ds = image(SMALL_EDGE)
    ds.PatientID, ds.IssuerOfPatientID, ds.AccessionNumber = number, "BENCH", f"A{number}"
    return ds


def store_messages(number: int, edge: int, maximum: int, *, like: Dataset | None = None) -> Iterator[bytes]:
    """`number` C-STORE requests, objects of one series."""
    ds = like or image(edge)
    uid = str(ds.SOPInstanceUID)
    first = message(store_command(CTImageStorage, uid), encoded(ds), maximum)
    head, rest = first[:_HEAD], first[_HEAD:]
    for count in range(number):
        yield head.replace(uid.encode(), f"{uid[:-4]}{count:04}".encode()) + rest


def files(folder: Path, number: int, edge: int) -> list[Path]:
    """The same as Part 10 files."""
    folder.mkdir()
    ds = image(edge)
    uid = str(ds.SOPInstanceUID)
    paths = [folder / f"{count:04}.dcm" for count in range(number)]
    for count, path in enumerate(paths):
        ds.SOPInstanceUID = UID(f"{uid[:-4]}{count:04}")
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.save_as(path, enforce_file_format=True)
    return paths


def padded(number: int) -> str:
    """Always of the same length, so that one may be written over another."""
    return f"{number:06}"


def station(number: int) -> str:
    """The AE title of the station that step `number` is for: each has ANSWERS steps."""
    return f"CT_{padded(number // ANSWERS)}"


def query() -> bytes:
    """The identifier of a worklist query that a CT sends: its own steps of today."""
    return encoded(
        _entry(station=station(0), name="", patient_id="", study_instance_uid="", accession_number="", sps_id="")
    )


def query_for(accession_number: str) -> bytes:
    """The same for one order, whatever its day and station."""
    ds = _entry(
        station="", name="", patient_id="", study_instance_uid="", accession_number=accession_number, sps_id=""
    )  # fmt: skip
    ds.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate = ""
    return encoded(ds)


def worklist_file(number: int) -> Dataset:
    """Step `number` as wlmscpfs reads it."""
    ds = _entry(
        station=station(number), name=f"BENCH^{padded(number)}", patient_id=f"B{padded(number)}",
        study_instance_uid=new_uid(), accession_number=f"A{padded(number)}", sps_id=f"S{padded(number)}",
    )  # fmt: skip
    ds.RequestedProcedureID, ds.PatientBirthDate, ds.PatientSex = f"R{padded(number)}", "19700101", "O"
    # What the standard wants in an answer: wlmscpfs passes over files without it.
    ds.RequestedProcedureDescription = DESCRIPTION
    ds.ScheduledProcedureStepSequence[0].ScheduledProcedureStepDescription = DESCRIPTION
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = UID("1.2.276.0.7230010.3.1.0.1")
    ds.file_meta.MediaStorageSOPInstanceUID = UID(new_uid())
    return ds


def _entry(
    *, station: str, name: str, patient_id: str, study_instance_uid: str, accession_number: str, sps_id: str
) -> Dataset:
    ds, step = Dataset(), Dataset()
    ds.AccessionNumber, ds.PatientName, ds.PatientID = accession_number, name, patient_id
    ds.PatientBirthDate, ds.PatientSex, ds.RequestedProcedureID = "", "", ""
    ds.RequestedProcedureDescription, ds.StudyInstanceUID = "", study_instance_uid
    step.Modality, step.ScheduledStationAETitle = "CT", station
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = TODAY, "103000" if name else ""
    step.ScheduledPerformingPhysicianName = step.ScheduledProcedureStepDescription = ""
    step.ScheduledProcedureStepID = sps_id
    ds.ScheduledProcedureStepSequence = [step]
    return ds
