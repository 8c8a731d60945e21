"""The least sense that a stand-in for Fiducial needs: orders on a worklist, images matched by the house's rule."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from orchestrator.simulator.sites import HOUSES, STATIONS
from orchestrator.simulator.spelling import letters

ISSUERS = {house.facility: house.issuer for house in HOUSES} | {each.ae_title: each.house.issuer for each in STATIONS}
Key = tuple[str, str]


@dataclass
class Patient:
    name: str
    birth_date: str
    sex: str
    told_at: str


@dataclass
class Known:
    """Everything that was received, and the switches by which a test makes the stand-in misbehave."""

    messages: list[str] = field(default_factory=list)
    patients: dict[Key, Patient] = field(default_factory=dict)
    steps: dict[Key, dict[str, Any]] = field(default_factory=dict)
    """By accession number and step id."""
    studies: dict[str, dict[str, Dataset]] = field(default_factory=dict)
    stores: Counter[str] = field(default_factory=Counter)
    created: dict[str, Dataset] = field(default_factory=dict)
    finished: dict[str, Dataset] = field(default_factory=dict)
    configured: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {"sites": [{"id": 1, "code": "MAIN", "default_issuer": None}]}
    )
    answer_code: str = "AA"
    takes_merges: bool = False
    asks_nobody: bool = False
    silent_answers: int = 0
    broken_stores: int = 0
    matches_everything_to: str = ""
    keeps_canceled: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    # --- HL7 ------------------------------------------------------------------------------------

    def refusal(self, text: str) -> str:
        """The code with which a message is refused; AA: it is not."""
        if self.answer_code == "AA" and "|ADT^A40" in text and not self.takes_merges:
            return "AR"
        return self.answer_code

    def apply(self, text: str) -> None:
        lines = [line.split("|") for line in text.split("\r") if line]
        segments = {line[0]: line for line in lines}
        key = _key(segments["PID"][3], segments["MSH"][3])
        with self.lock:
            self.messages.append(text)
            if "MRG" in segments:
                self._merge(key, _key(segments["MRG"][1], segments["MSH"][3]))
                return
            self._tell(key, segments["PID"], segments["MSH"][6], leads="EVN" in segments)
            starts = [number for number, line in enumerate(lines) if line[0] == "ORC"]
            for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):
                self._order(key, {line[0]: line for line in lines[start:end]})

    def _tell(self, key: Key, pid: list[str], at: str, *, leads: bool) -> None:
        known = self.patients.get(key)
        if known is None or (leads and at >= known.told_at):
            self.patients[key] = Patient(_pn(pid[5]), pid[7], pid[8], at if leads else "")

    def _merge(self, surviving: Key, subsumed: Key) -> None:
        for step in self.steps.values():
            step["records"] |= {surviving} if subsumed in step["records"] else set()
            step["patient"] = surviving if step["patient"] == subsumed else step["patient"]

    def _order(self, patient: Key, group: dict[str, list[str]]) -> None:
        orc, obr = group["ORC"], group["OBR"]
        known = self.steps.get((obr[18], obr[20]), {})
        if orc[1] == "CA":
            known["canceled"] = not self.keeps_canceled
            return
        if known and orc[9] < known["at"]:
            return
        same = next((each for each in self.steps.values() if each["procedure_id"] == obr[19]), {})
        self.steps[obr[18], obr[20]] = {
            "at": orc[9],
            "accession": obr[18],
            "filler": obr[3].split("^")[0],
            "patient": patient,
            "records": {patient},
            "start": obr[27].split("^")[3],
            "modality": obr[24],
            "station": orc[18].split("^")[0],
            "procedure_id": obr[19],
            "sps_id": obr[20],
            "description": obr[44].split("^")[1],
            "study": group["ZDS"][1].split("^")[0] if "ZDS" in group else same.get("study") or generate_uid(),
            "canceled": False,
        }

    # --- worklist -------------------------------------------------------------------------------

    def entries(self, station: str, day: str) -> Iterator[Dataset]:
        with self.lock:
            here = [each for each in self.steps.values() if each["station"] == station and not each["canceled"]]
            for step in here:
                if step["start"][:8] == day:
                    yield worklist_entry(step, step["patient"], self.patients[step["patient"]])

    # --- images ---------------------------------------------------------------------------------

    def resource(self, study_uid: str) -> dict[str, Any] | None:
        """As GET /api/v1/studies/ shows a study (CONTRACT, REST)."""
        with self.lock:
            objects = self.studies.get(study_uid)
            if not objects:
                return None
            found = [self._match(study_uid, ds) for ds in objects.values() if ds.calling != "AI_BOX"]
        if self.matches_everything_to:
            found = [next(each for each in self.steps.values() if each["accession"] == self.matches_everything_to)]
        counted = {"study_instance_uid": study_uid, "number_of_instances": len(objects)}
        matched = [step for step in found if step is not None]
        if len(matched) < len(found) or len({step["patient"] for step in matched}) > 1:
            return {**counted, "identity": "HELD", "matched_by": None, "patient": None, "orders": []}
        told = {"id": 1, "filler_order_number": matched[0]["filler"], "accession_number": matched[0]["accession"]}
        records = [{"value": value, "issuer": issuer} for issuer, value in matched[0]["records"]]
        patient = {"id": 2, "identifiers": records}
        return {
            **counted, "identity": "MATCHED", "matched_by": "auto", "patient": patient, "order": told, "orders": [told],
        }  # fmt: skip

    def _match(self, study_uid: str, ds: Dataset) -> dict[str, Any] | None:
        """The step that an object names, when its patient is that step's and nothing conflicts."""
        discontinued = [
            self.created[uid].ScheduledStepAttributesSequence[0].StudyInstanceUID
            for uid, step in self.finished.items()
            if step.PerformedProcedureStepStatus == "DISCONTINUED"
        ]
        accession, is_given = ds.AccessionNumber, any(each["study"] == study_uid for each in self.steps.values())
        for step in self.steps.values():
            names = study_uid == step["study"] or accession == step["accession"]
            conflicts = (
                study_uid in discontinued
                or (accession and accession != step["accession"])
                or (is_given and study_uid != step["study"])
                or ds.StudyDate != step["start"][:8]
            )
            if names and not conflicts and self._is_patient(step, ds):
                return step
        return None

    def _is_patient(self, step: dict[str, Any], ds: Dataset) -> bool:
        issuer = ds.get("IssuerOfPatientID") or ISSUERS[ds.calling]
        said = (_parts(str(ds.PatientName)), ds.PatientBirthDate)
        records = [self.patients[key] for key in step["records"]]
        named = any(said == (_parts(record.name), record.birth_date) for record in records)
        return (issuer, ds.PatientID) in step["records"] and named


def _parts(name: str) -> list[str]:
    return sorted(letters(name).replace("^", " ").split())


def _key(cx: str, facility: str) -> Key:
    value, _, _, issuer = cx.split("^")[:4]
    return issuer or ISSUERS[facility], value


def _pn(xpn: str) -> str:
    family, given, middle, suffix, prefix = (xpn.split("^") + [""] * 5)[:5]
    return "^".join((family, given, middle, prefix, suffix)).rstrip("^")


def worklist_entry(order: dict[str, Any], key: Key, patient: Patient) -> Dataset:
    step = Dataset()
    step.ScheduledStationAETitle, step.Modality = order["station"], order["modality"]
    step.ScheduledProcedureStepStartDate = order["start"][:8]
    step.ScheduledProcedureStepStartTime = order["start"][8:]
    step.ScheduledProcedureStepID, step.ScheduledProcedureStepDescription = order["sps_id"], order["description"]
    entry = Dataset()
    entry.SpecificCharacterSet = "ISO_IR 192"
    entry.IssuerOfPatientID, entry.PatientID = key
    entry.PatientName, entry.PatientBirthDate, entry.PatientSex = patient.name, patient.birth_date, patient.sex
    entry.AccessionNumber, entry.StudyInstanceUID = order["accession"], order["study"]
    entry.RequestedProcedureID, entry.RequestedProcedureDescription = order["procedure_id"], order["description"]
    entry.ReferringPhysicianName = "Ordóñez^Pilar"
    entry.ScheduledProcedureStepSequence = [step]
    return entry
