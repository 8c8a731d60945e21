"""The objects that the modalities make: small, valid, with pixels (PS3.3 A.2 CR, A.3 CT, A.4 MR, A.6 and A.7 US)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from random import Random

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from orchestrator.simulator.console import Identity
from orchestrator.simulator.orders import Procedure, new_uid

STORAGE_CLASSES = (
    CTImageStorage,
    MRImageStorage,
    ComputedRadiographyImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)
MPPS_CLASS = "1.2.840.10008.3.1.2.3.3"
_SIZE, _FRAMES = 64, 4


@dataclass(frozen=True)
class Acquisition:
    """What the console knows when it makes objects, beside the patient's identity."""

    procedure: Procedure
    at: datetime
    mpps_uid: str
    """Empty when the modality sends no MPPS."""
    uids: Random
    noise: Random


def acquire(identity: Identity, made: Acquisition) -> list[list[Dataset]]:
    """The series of one study, each with two to six objects."""
    several = made.procedure.modality in ("CT", "MR") and made.noise.random() < 0.5
    frame_of_reference = new_uid(made.uids)
    study = []
    for series_number in range(1, 3 if several else 2):
        series_uid = new_uid(made.uids)
        series = []
        for number in range(1, made.noise.randint(2, 6) + 1):
            ds = _common(identity, made, series_uid, series_number, number)
            _MODULES[made.procedure.modality](ds, made.noise, frame_of_reference, number)
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            series.append(ds)
        study.append(series)
    return study


def reference(ds: Dataset) -> Dataset:
    """An item that names an object."""
    return _reference(ds.SOPClassUID, ds.SOPInstanceUID)


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


def _common(identity: Identity, made: Acquisition, series_uid: str, series_number: int, number: int) -> Dataset:
    """Patient, General Study, General Series, General Equipment and General Image (PS3.3 C.7)."""
    ds, procedure = Dataset(), made.procedure
    identity.stamp_patient(ds)
    ds.SOPInstanceUID = new_uid(made.uids)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = identity.study_instance_uid, series_uid
    for prefix in ("Study", "Series", "Acquisition", "Content", "PerformedProcedureStepStart"):
        setattr(ds, f"{prefix}Date", made.at.strftime("%Y%m%d"))
        setattr(ds, f"{prefix}Time", made.at.strftime("%H%M%S"))
    ds.AccessionNumber, ds.StudyID = identity.accession_number, identity.requested_procedure_id[-16:]
    ds.ReferringPhysicianName = identity.referring_physician
    ds.StudyDescription = identity.requested_procedure_description or procedure.meaning
    ds.SeriesDescription = f"{procedure.meaning} {series_number}"
    ds.Modality, ds.StationName, ds.BodyPartExamined = procedure.modality, procedure.station, procedure.body_part
    if procedure.laterality:
        ds.Laterality = procedure.laterality
    ds.Manufacturer, ds.ManufacturerModelName = "Simulated Hospital", f"{procedure.modality} 1"
    ds.DeviceSerialNumber, ds.SoftwareVersions, ds.InstitutionName = "1", "1", "North Hospital"
    ds.SeriesNumber, ds.InstanceNumber = series_number, number
    ds.PerformedProcedureStepID = performed_step_id(identity)
    if made.mpps_uid:
        ds.ReferencedPerformedProcedureStepSequence = [_reference(MPPS_CLASS, made.mpps_uid)]
    if identity.sps_id:
        item = Dataset()
        identity.stamp_request(item)
        ds.RequestAttributesSequence = [item]
    return ds


def performed_step_id(identity: Identity) -> str:
    """A console numbers its steps as it likes (SH, 16 characters)."""
    return f"PPS{identity.study_instance_uid[-8:]}"


def _disc(noise: Random) -> NDArray[np.float64]:
    """A bright disc on a noisy ground, 0 to 1: something to see, and different in every object."""
    generator = np.random.default_rng(noise.getrandbits(32))
    y, x = np.ogrid[:_SIZE, :_SIZE]
    inside = (x - _SIZE // 2) ** 2 + (y - _SIZE // 2) ** 2 < noise.randint(10, 28) ** 2
    values: NDArray[np.float64] = inside * 0.6 + generator.uniform(0, 0.35, size=(_SIZE, _SIZE))
    return values


def _pixel_module(ds: Dataset, pixels: NDArray[np.generic], photometric: str, bits: int) -> None:
    """Image Pixel (PS3.3 C.7.6.3), monochrome or, with a last axis of three, colour by pixel."""
    ds.Rows, ds.Columns = _SIZE, _SIZE
    ds.PhotometricInterpretation = photometric
    ds.SamplesPerPixel = 3 if photometric == "RGB" else 1
    if photometric == "RGB":
        ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = pixels.itemsize * 8, bits, bits - 1
    ds.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"


def _plane(ds: Dataset, frame_of_reference: str, number: int) -> None:
    """Frame of Reference and Image Plane (C.7.4.1, C.7.6.2): axial slices, 5 mm apart."""
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = frame_of_reference, ""
    ds.PixelSpacing, ds.SliceThickness = [4, 4], 5
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [-128, -128, 5 * number]
    ds.PatientPosition, ds.AcquisitionNumber = "HFS", 1


def _ct(ds: Dataset, noise: Random, frame_of_reference: str, number: int) -> None:
    ds.SOPClassUID, ds.ImageType = CTImageStorage, ["ORIGINAL", "PRIMARY", "AXIAL"]
    _plane(ds, frame_of_reference, number)
    ds.KVP, ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 120, -1024, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 400
    _pixel_module(ds, (_disc(noise) * 2000).astype(np.int16), "MONOCHROME2", 16)


def _mr(ds: Dataset, noise: Random, frame_of_reference: str, number: int) -> None:
    ds.SOPClassUID, ds.ImageType = MRImageStorage, ["ORIGINAL", "PRIMARY", "OTHER"]
    _plane(ds, frame_of_reference, number)
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SE", "NONE", "", "2D"
    ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = 500, 15, 1
    ds.MagneticFieldStrength = 1.5
    _pixel_module(ds, (_disc(noise) * 4000).astype(np.uint16), "MONOCHROME2", 12)


def _cr(ds: Dataset, noise: Random, frame_of_reference: str, number: int) -> None:
    ds.SOPClassUID, ds.ImageType = ComputedRadiographyImageStorage, ["ORIGINAL", "PRIMARY"]
    ds.ViewPosition, ds.PatientOrientation = ("PA", "LL")[number % 2], ["L", "F"]
    ds.KVP, ds.AcquisitionNumber = 70, number
    _pixel_module(ds, (_disc(noise) * 1000).astype(np.uint16), "MONOCHROME2", 10)


def _us(ds: Dataset, noise: Random, frame_of_reference: str, number: int) -> None:
    """The first object is a grey loop (US Multi-frame), the others are colour stills (US)."""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "ABDOMINAL", "0001"]
    ds.PatientOrientation, ds.LossyImageCompression = "", "00"
    if number > 1:
        ds.SOPClassUID = UltrasoundImageStorage
        colours = np.stack([_disc(noise) * 255 for _ in range(3)], axis=-1)
        _pixel_module(ds, colours.astype(np.uint8), "RGB", 8)
        return
    ds.SOPClassUID = UltrasoundMultiFrameImageStorage
    ds.NumberOfFrames, ds.FrameTime = _FRAMES, 40
    ds.FrameIncrementPointer = 0x00181063
    loop = np.stack([_disc(noise) * 255 for _ in range(_FRAMES)])
    _pixel_module(ds, loop.astype(np.uint8), "MONOCHROME2", 8)


_MODULES: dict[str, Callable[[Dataset, Random, str, int], None]] = {"CT": _ct, "MR": _mr, "CR": _cr, "US": _us}
