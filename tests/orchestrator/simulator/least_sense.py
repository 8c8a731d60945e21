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
    matches_by: str = "auto"
    offers_nothing: bool = False
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
            matches = self.matches(study_uid)
            matched = [step for _, step in matches if step is not None]
            claims = [self._claim(number, ds, step) for number, (ds, step) in enumerate(matches, start=1)]
            first = matched[0] if matched and len(matched) == len(matches) else None
            records = {(value, issuer) for issuer, value in first["records"]} if first else set()
            return {
                "study_instance_uid": study_uid,
                "number_of_instances": len(objects),
                "identity": "MATCHED" if first else "HELD",
                "patient": {"id": 2, "identifiers": _identifiers(records)} if first else None,
                "claims": claims,
            }

    def matches(self, study_uid: str) -> list[tuple[Dataset, dict[str, Any] | None]]:
        """One image of each that says it is somebody's, with the step that it is matched to."""
        acquired = [ds for ds in self.studies[study_uid].values() if ds.calling != "AI_BOX"]
        said = {(ds.PatientID, str(ds.PatientName), ds.AccessionNumber): ds for ds in acquired}
        found = [(ds, self._match(study_uid, ds)) for ds in said.values()]
        if self.matches_everything_to:
            step = next(each for each in self.steps.values() if each["accession"] == self.matches_everything_to)
            found = [(ds, step) for ds in said.values()]
        if len({ds.PatientID for ds in said.values()}) > 1:
            return [(ds, None) for ds, _ in found]
        return found

    def _claim(self, number: int, ds: Dataset, step: dict[str, Any] | None) -> dict[str, Any]:
        told = {"id": number, "purpose": "ACQUIRED", "number_of_instances": 1, "patient_id": ds.PatientID}
        if step is None:
            return {**told, "identity": "HELD", "matched_by": "", "order": None, "step": None}
        named = {"sps_id": step["sps_id"], "requested_procedure_id": step["procedure_id"]}
        return {**told, "identity": "MATCHED", "matched_by": self.matches_by, "order": _order(step), "step": named}

    def cases(self, study_uid: str) -> list[dict[str, Any]]:
        """One for each of the study's claims that is held."""
        if self.asks_nobody or study_uid not in self.studies:
            return []
        matches = self.matches(study_uid)
        held = [(number, ds) for number, (ds, step) in enumerate(matches, start=1) if step is None]
        both = len(held) > 1
        return [
            {"id": 6 + number, "claim": number, "status": "OPEN", "study_instance_uid": study_uid, "kind": kind,
             "reason_code": code}
            for number, ds in held
            for kind, code in [("study_uid_conflict", "TWO_PATIENTS") if both else self._asked(study_uid, ds)]
        ]  # fmt: skip

    def _asked(self, study_uid: str, ds: Dataset) -> tuple[str, str]:
        """Kind and reason of the case about an image that no step was found for."""
        if study_uid in self._discontinued():
            return "wrong_worklist_entry", "WRONG_WORKLIST_ENTRY"
        steps = [each for each in self.steps.values() if not each["canceled"]]
        accessions = [each for each in steps if ds.AccessionNumber == each["accession"]]
        patients = [each for each in steps if _key_of(ds) in each["records"]]
        best = next(iter([each for each in accessions if each in patients] + patients + accessions), None)
        if best is None:
            return "unmatched_study", "NO_ORDER"
        if _key_of(ds) not in best["records"]:
            return "patient_conflict", "PATIENT_ID_CONFLICT"
        if not self._is_patient(best, ds):
            return "patient_conflict", "NAME_DIFFERS"
        if ds.StudyDate != best["start"][:8]:
            return "unmatched_study", "OTHER_DAY"
        differs = ds.AccessionNumber and ds.AccessionNumber != best["accession"]
        given = any(each["study"] == study_uid for each in steps)
        code = "ACCESSION_DIFFERS" if differs else "OTHER_STUDY_UID" if given else "NO_ORDER_FACTOR"
        return "unmatched_study", code

    def orders(self, filler: str = "") -> list[dict[str, Any]]:
        """As GET /api/v1/orders/ shows them."""
        with self.lock:
            found: dict[str, dict[str, Any]] = {}
            for step in self.steps.values():
                if filler not in ("", step["filler"]):
                    continue
                patient, records = (
                    self.patients[step["patient"]],
                    {(value, issuer) for issuer, value in step["records"]},
                )
                told = {"name": patient.name, "birth_date": patient.birth_date, "sex": patient.sex}
                order = found.setdefault(
                    step["filler"],
                    {**_order(step), "patient": {**told, "identifiers": _identifiers(records)}, "procedures": {}},
                )
                procedure = order["procedures"].setdefault(step["procedure_id"], {
                    "requested_procedure_id": step["procedure_id"], "study_instance_uid": step["study"], "steps": [],
                })  # fmt: skip
                procedure["steps"].append({"sps_id": step["sps_id"], "status": self._status(step)})
            return [{**each, "requested_procedures": list(each.pop("procedures").values())} for each in found.values()]

    def _status(self, step: dict[str, Any]) -> str:
        if step["canceled"]:
            return "CANCELED"
        performed = {self._ended(uid) for uid, ds in self.created.items() if self._performs(ds, step)}
        matched = any(step is each for uid in self.studies for _, each in self.matches(uid))
        for status in ("COMPLETED", "STARTED"):
            if status in performed:
                return status
        return "COMPLETED" if matched else "SCHEDULED"

    def _performs(self, ds: Dataset, step: dict[str, Any]) -> bool:
        named = [(item.AccessionNumber, item.ScheduledProcedureStepID) for item in ds.ScheduledStepAttributesSequence]
        return (step["accession"], step["sps_id"]) in named and ds.PatientID in {value for _, value in step["records"]}

    def _ended(self, mpps_uid: str) -> str:
        return str(self.finished[mpps_uid].PerformedProcedureStepStatus) if mpps_uid in self.finished else "STARTED"

    def _discontinued(self) -> set[str]:
        return {
            self.created[uid].ScheduledStepAttributesSequence[0].StudyInstanceUID
            for uid, step in self.finished.items()
            if step.PerformedProcedureStepStatus == "DISCONTINUED"
        }

    def _match(self, study_uid: str, ds: Dataset) -> dict[str, Any] | None:
        """The step that an object names, when its patient is that step's and nothing conflicts."""
        discontinued = self._discontinued()
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
        said = (_parts(str(ds.PatientName)), ds.PatientBirthDate)
        records = [self.patients[key] for key in step["records"]]
        named = any(said == (_parts(record.name), record.birth_date) for record in records)
        return _key_of(ds) in step["records"] and named


def _key_of(ds: Dataset) -> Key:
    return ds.get("IssuerOfPatientID") or ISSUERS[ds.calling], ds.PatientID


def _order(step: dict[str, Any]) -> dict[str, Any]:
    return {"id": 1, "filler_order_number": step["filler"], "accession_number": step["accession"]}


def _identifiers(records: set[Key]) -> list[dict[str, str]]:
    return [{"value": value, "issuer": issuer} for value, issuer in records]


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
