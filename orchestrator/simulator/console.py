"""What a modality's console holds about the patient and the order: from the worklist, or typed in by hand."""

from dataclasses import dataclass, fields

from pydicom.dataset import Dataset

from orchestrator.simulator.people import Person


@dataclass(frozen=True)
class Identity:
    """Stamped on every object and on the MPPS. Text is Unicode here and encoded where it leaves."""

    patient_name: str
    patient_id: str
    issuer: str
    birth_date: str
    sex: str
    study_instance_uid: str
    accession_number: str
    requested_procedure_id: str = ""
    requested_procedure_description: str = ""
    sps_id: str = ""
    sps_description: str = ""
    referring_physician: str = ""
    protocol_code: Dataset | None = None
    requests_accession_number: str = ""
    """Of its own item among the requests, where the study as a whole has none."""
    also: "tuple[Identity, ...]" = ()
    """Further worklist entries that were chosen for the same images (group case)."""

    @classmethod
    def typed(cls, person: Person, study_instance_uid: str, accession_number: str, *, issuer: str = "") -> "Identity":
        """Entered by hand: no order, and no issuer unless the console is set up with one."""
        return cls(
            patient_name=person.dicom_name,
            patient_id=person.patient_id,
            issuer=issuer,
            birth_date=person.birth_date,
            sex=person.sex,
            study_instance_uid=study_instance_uid,
            accession_number=accession_number,
        )

    @classmethod
    def from_worklist(cls, entry: Dataset) -> "Identity":
        """Copied from a worklist answer (the attributes of IHE RAD TF-2 Appendix A, "copied from the MWL")."""
        step = scheduled_step(entry)
        protocol = step.get("ScheduledProtocolCodeSequence") or [None]
        return cls(
            patient_name=text(entry, "PatientName"),
            patient_id=text(entry, "PatientID"),
            issuer=text(entry, "IssuerOfPatientID"),
            birth_date=text(entry, "PatientBirthDate"),
            sex=text(entry, "PatientSex"),
            study_instance_uid=text(entry, "StudyInstanceUID"),
            accession_number=text(entry, "AccessionNumber"),
            requested_procedure_id=text(entry, "RequestedProcedureID"),
            requested_procedure_description=text(entry, "RequestedProcedureDescription"),
            sps_id=text(step, "ScheduledProcedureStepID"),
            sps_description=text(step, "ScheduledProcedureStepDescription"),
            referring_physician=text(entry, "ReferringPhysicianName"),
            protocol_code=protocol[0],
        )

    @property
    def character_set(self) -> str:
        """What an old console can write, else Unicode (PS3.3 C.12.1.1.2)."""
        values = (getattr(self, field.name) for field in fields(self))
        try:
            "".join(value for value in values if isinstance(value, str)).encode("iso8859-1")
        except UnicodeEncodeError:
            return "ISO_IR 192"
        return "ISO_IR 100"

    def stamp_patient(self, ds: Dataset) -> None:
        """The Patient Module and the character set that its text needs."""
        ds.SpecificCharacterSet = self.character_set
        ds.PatientName, ds.PatientID = self.patient_name, self.patient_id
        if self.issuer:
            ds.IssuerOfPatientID = self.issuer
        ds.PatientBirthDate, ds.PatientSex = self.birth_date, self.sex

    def requests(self) -> list[Dataset]:
        """Items of Request Attributes Sequence (images) or Scheduled Step Attributes Sequence (MPPS), one an entry."""
        return [each._request() for each in (self, *self.also)]

    def _request(self) -> Dataset:
        item = Dataset()
        item.StudyInstanceUID = self.study_instance_uid
        item.AccessionNumber = self.requests_accession_number or self.accession_number
        item.RequestedProcedureID = self.requested_procedure_id
        item.RequestedProcedureDescription = self.requested_procedure_description
        item.ScheduledProcedureStepID = self.sps_id
        item.ScheduledProcedureStepDescription = self.sps_description
        if self.protocol_code is not None:
            item.ScheduledProtocolCodeSequence = [self.protocol_code]
        return item


def text(ds: Dataset, keyword: str) -> str:
    """A value as text; absent and empty are the same to a console."""
    value = ds.get(keyword)
    return "" if value is None else str(value)


def scheduled_step(entry: Dataset) -> Dataset:
    """The one item of Scheduled Procedure Step Sequence (PS3.4 K.6.1.2.2); empty when the answer has none."""
    steps = entry.get("ScheduledProcedureStepSequence")
    return steps[0] if steps else Dataset()
