"""The objects that the modalities make: what every one of them says of patient, study, series and equipment."""

from dataclasses import dataclass
from datetime import datetime
from random import Random

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from orchestrator.simulator.console import Identity
from orchestrator.simulator.iods import IMAGES, Frame
from orchestrator.simulator.orders import Procedure, new_uid
from orchestrator.simulator.sites import Station

MPPS_CLASS = "1.2.840.10008.3.1.2.3.3"


@dataclass(frozen=True)
class Acquisition:
    """What the console knows when it makes objects, beside the patient's identity."""

    procedure: Procedure
    station: Station
    at: datetime
    mpps_uid: str
    """Empty when the modality sends no MPPS."""
    uids: Random
    noise: Random
    first_series: int = 1
    few: bool = False
    """Two objects and no more."""


def acquire(identity: Identity, made: Acquisition) -> list[list[Dataset]]:
    """The series of one performed step, each with two to six objects."""
    several = made.station.modality in ("CT", "MR") and made.noise.random() < 0.5 and not made.few
    frame_of_reference = new_uid(made.uids)
    study = []
    for series_number in range(made.first_series, made.first_series + (2 if several else 1)):
        series_uid = new_uid(made.uids)
        series = []
        for number in range(1, (2 if made.few else made.noise.randint(2, 6)) + 1):
            ds = _common(identity, made, series_uid, series_number, number)
            IMAGES[made.station.modality](ds, Frame(made.noise, frame_of_reference, number))
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
    ds, procedure, station = Dataset(), made.procedure, made.station
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
    ds.Modality, ds.StationName, ds.BodyPartExamined = procedure.modality, station.ae_title, procedure.body_part
    if procedure.laterality:
        ds.Laterality = procedure.laterality
    ds.Manufacturer, ds.ManufacturerModelName = "Simulated Hospital", f"{procedure.modality} 1"
    ds.DeviceSerialNumber, ds.SoftwareVersions, ds.InstitutionName = "1", "1", station.house.name
    ds.SeriesNumber, ds.InstanceNumber = series_number, number
    ds.PerformedProcedureStepID = performed_step_id(identity, made.at)
    if made.mpps_uid:
        ds.ReferencedPerformedProcedureStepSequence = [_reference(MPPS_CLASS, made.mpps_uid)]
    if identity.sps_id:
        ds.RequestAttributesSequence = identity.requests()
    return ds


def performed_step_id(identity: Identity, at: datetime) -> str:
    """A console numbers its steps as it likes (SH, 16 characters)."""
    return f"PPS{identity.study_instance_uid[-6:]}{at:%H%M%S}"
