"""The AI box: looks at images and sends back an object of its own, in the same study (PS3.3 A.8, Secondary Capture)."""

from collections.abc import Sequence
from random import Random
from threading import Lock

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from orchestrator.simulator.images import reference
from orchestrator.simulator.orders import new_uid
from orchestrator.simulator.peer import Peer
from orchestrator.simulator.sending import store
from orchestrator.simulator.waiting import Refused

AE_TITLE = "AI_BOX"
_LOOKS_AT = ("CT", "MG", "DX")
_COPIED = (
    "SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
    "StudyDescription", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
)  # fmt: skip


class AiBox:
    """A processor that gets every study straight from the modality, as many do."""

    name = AE_TITLE

    def __init__(self, peer: Peer) -> None:
        self._peer, self._busy = peer, Lock()

    def restart(self, seconds: float) -> None:
        """It is down for so long, between two studies; what it should look at waits."""
        with self._busy:
            self._peer.stop.wait(seconds)

    def look_at(self, objects: Sequence[Dataset], uids: Random) -> dict[str, str]:
        """Send what it makes of the first image; the UIDs of what it made and of that image.

        Raises Refused, GaveUp, Stopped.
        """
        first = objects[0]
        if first.Modality not in _LOOKS_AT:
            return {}
        made = _derived(first, uids)
        with self._busy:
            sent = store(self._peer, [made])
        if sent.refused:
            raise Refused("the AI box's object was refused")
        return {str(made.SOPInstanceUID): str(first.SOPInstanceUID)}


def _derived(source: Dataset, uids: Random) -> Dataset:
    """A marked copy of the image, which says what it was made of."""
    ds = Dataset()
    for keyword in _COPIED:
        if keyword in source:
            ds[keyword] = source[keyword]
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = SecondaryCaptureImageStorage, new_uid(uids), new_uid(uids)
    ds.Modality, ds.ConversionType, ds.ImageType = source.Modality, "WSD", ["DERIVED", "SECONDARY"]
    ds.SeriesNumber, ds.InstanceNumber, ds.SeriesDescription = 901, 1, "Possible finding"
    ds.Manufacturer, ds.ManufacturerModelName, ds.PatientOrientation = "Simulated Hospital", AE_TITLE, ""
    ds.SourceImageSequence = [reference(source)]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds
