"""What makes an image one of its kind: small, valid, with pixels (PS3.3 A.2 CR, A.3 CT, A.4 MR, A.5 NM, A.6 and A.7 US,
A.14 XA, A.26 DX, A.27 MG)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    MRImageStorage,
    NuclearMedicineImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    XRayAngiographicImageStorage,
)

STORAGE_CLASSES = (
    CTImageStorage,
    MRImageStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForPresentation,
    XRayAngiographicImageStorage,
    NuclearMedicineImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)
_SIZE, _FRAMES = 64, 4


@dataclass(frozen=True)
class Frame:
    """What an image differs by from the others of its series."""

    noise: Random
    of_reference: str
    number: int


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


def _plane(ds: Dataset, frame: Frame) -> None:
    """Frame of Reference and Image Plane (C.7.4.1, C.7.6.2): axial slices, 5 mm apart."""
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = frame.of_reference, ""
    ds.PixelSpacing, ds.SliceThickness = [4, 4], 5
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [-128, -128, 5 * frame.number]
    ds.PatientPosition, ds.AcquisitionNumber = "HFS", 1


def _ct(ds: Dataset, frame: Frame) -> None:
    ds.SOPClassUID, ds.ImageType = CTImageStorage, ["ORIGINAL", "PRIMARY", "AXIAL"]
    _plane(ds, frame)
    ds.KVP, ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 120, -1024, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 400
    _pixel_module(ds, (_disc(frame.noise) * 2000).astype(np.int16), "MONOCHROME2", 16)


def _mr(ds: Dataset, frame: Frame) -> None:
    ds.SOPClassUID, ds.ImageType = MRImageStorage, ["ORIGINAL", "PRIMARY", "OTHER"]
    _plane(ds, frame)
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SE", "NONE", "", "2D"
    ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = 500, 15, 1
    ds.MagneticFieldStrength = 1.5
    _pixel_module(ds, (_disc(frame.noise) * 4000).astype(np.uint16), "MONOCHROME2", 12)


def _cr(ds: Dataset, frame: Frame) -> None:
    ds.SOPClassUID, ds.ImageType = ComputedRadiographyImageStorage, ["ORIGINAL", "PRIMARY"]
    ds.ViewPosition, ds.PatientOrientation = ("PA", "LL")[frame.number % 2], ["L", "F"]
    ds.KVP, ds.AcquisitionNumber = 70, frame.number
    _pixel_module(ds, (_disc(frame.noise) * 1000).astype(np.uint16), "MONOCHROME2", 10)


def _us(ds: Dataset, frame: Frame) -> None:
    """The first object is a grey loop (US Multi-frame), the others are colour stills (US)."""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "ABDOMINAL", "0001"]
    ds.PatientOrientation, ds.LossyImageCompression = "", "00"
    if frame.number > 1:
        ds.SOPClassUID = UltrasoundImageStorage
        colours = np.stack([_disc(frame.noise) * 255 for _ in range(3)], axis=-1)
        _pixel_module(ds, colours.astype(np.uint8), "RGB", 8)
        return
    ds.SOPClassUID = UltrasoundMultiFrameImageStorage
    ds.NumberOfFrames, ds.FrameTime = _FRAMES, 40
    ds.FrameIncrementPointer = 0x00181063
    loop = np.stack([_disc(frame.noise) * 255 for _ in range(_FRAMES)])
    _pixel_module(ds, loop.astype(np.uint8), "MONOCHROME2", 8)


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _projection(ds: Dataset, frame: Frame) -> None:
    """What DX and MG share: DX Series, DX Image, DX Detector, Acquisition Context (PS3.3 C.8.11)."""
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.AcquisitionContextSequence, ds.ImagerPixelSpacing = [], [4, 4]
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LIN", 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.PresentationLUTShape, ds.LossyImageCompression, ds.BurnedInAnnotation = "IDENTITY", "00", "NO"
    ds.DetectorType, ds.WindowCenter, ds.WindowWidth = "DIRECT", 500, 1000
    _pixel_module(ds, (_disc(frame.noise) * 1000).astype(np.uint16), "MONOCHROME2", 12)


def _dx(ds: Dataset, frame: Frame) -> None:
    ds.SOPClassUID, ds.ImageType = DigitalXRayImageStorageForPresentation, ["ORIGINAL", "PRIMARY", ""]
    ds.PatientOrientation, ds.ImageLaterality = ["L", "F"], ds.get("Laterality", "U")
    if "Laterality" in ds:
        del ds.Laterality
    ds.KVP, ds.PositionerType = 80, ""
    _projection(ds, frame)
    ds.AnatomicRegionSequence = [_code("51185008", "SCT", "Chest")]
    ds.ViewCodeSequence = [_code("399348003", "SCT", "antero-posterior")]
    ds.PatientOrientation = ["L", "F"]


def _mg(ds: Dataset, frame: Frame) -> None:
    ds.SOPClassUID, ds.ImageType = DigitalMammographyXRayImageStorageForPresentation, ["ORIGINAL", "PRIMARY", ""]
    ds.ImageLaterality, ds.PatientOrientation = "RL"[frame.number % 2], ["A", "FR"]
    ds.OrganExposed, ds.PositionerType, ds.KVP, ds.BreastImplantPresent = "BREAST", "MAMMOGRAPHIC", 28, "NO"
    _projection(ds, frame)
    ds.AnatomicRegionSequence = [_code("76752008", "SCT", "Breast")]
    view = _code("399162004", "SCT", "cranio-caudal")
    view.ViewModifierCodeSequence = []
    ds.ViewCodeSequence = [view]


def _xa(ds: Dataset, frame: Frame) -> None:
    """A run of a few frames."""
    ds.SOPClassUID, ds.ImageType = XRayAngiographicImageStorage, ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    ds.PatientOrientation, ds.AcquisitionNumber = "", frame.number
    ds.KVP, ds.RadiationSetting, ds.XRayTubeCurrent, ds.ExposureTime = 75, "GR", 300, 80
    ds.PixelIntensityRelationship, ds.LossyImageCompression = "LIN", "00"
    ds.PositionerMotion, ds.PositionerPrimaryAngle, ds.PositionerSecondaryAngle = "STATIC", 0, 0
    ds.NumberOfFrames, ds.FrameTime, ds.FrameIncrementPointer = _FRAMES, 66, 0x00181063
    run = np.stack([_disc(frame.noise) * 255 for _ in range(_FRAMES)])
    _pixel_module(ds, run.astype(np.uint8), "MONOCHROME2", 8)


def _nm(ds: Dataset, frame: Frame) -> None:
    """A whole body scan, front and back."""
    ds.SOPClassUID = NuclearMedicineImageStorage
    ds.ImageType = ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]
    ds.PatientOrientation = ""
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = frame.of_reference, ""
    ds.PatientOrientationCodeSequence = [_code("102538003", "SCT", "recumbent")]
    ds.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence = [_code("40199007", "SCT", "supine")]
    ds.PatientGantryRelationshipCodeSequence = [_code("102540008", "SCT", "headfirst")]
    ds.PixelSpacing, ds.LossyImageCompression = [4, 4], "00"
    ds.NumberOfFrames, ds.FrameIncrementPointer = 2, [0x00540010, 0x00540020]
    ds.EnergyWindowVector, ds.NumberOfEnergyWindows, ds.DetectorVector, ds.NumberOfDetectors = [1, 1], 1, [1, 2], 2
    window = _item(EnergyWindowLowerLimit=126, EnergyWindowUpperLimit=154)
    ds.EnergyWindowInformationSequence = [_item(EnergyWindowRangeSequence=[window])]
    agent = _code("72454000", "SCT", "^99m^Technetium")
    ds.RadiopharmaceuticalInformationSequence = [
        _item(RadionuclideCodeSequence=[agent], RadiopharmaceuticalStartTime="", Radiopharmaceutical="")
    ]
    ds.DetectorInformationSequence = [
        _item(
            CollimatorType="PARA", FocalDistance=0, ImageOrientationPatient=[1, 0, 0, 0, 0, side],
            ImagePositionPatient=[0, 0, 0]
        )
        for side in (-1, 1)
    ]  # fmt: skip
    ds.ScanLength = 1000
    ds.CountsAccumulated, ds.ActualFrameDuration, ds.ScanVelocity, ds.WholeBodyTechnique = 100000, 1000, 2, "1PS"
    views = np.stack([_disc(frame.noise) * 1000 for _ in range(2)])
    _pixel_module(ds, views.astype(np.uint16), "MONOCHROME2", 16)


IMAGES: Mapping[str, Callable[[Dataset, Frame], None]] = {
    "CT": _ct, "MR": _mr, "CR": _cr, "DX": _dx, "US": _us, "MG": _mg, "XA": _xa, "NM": _nm,
}  # fmt: skip
