"""A stand-in for Fiducial in the hospital's own tests: real sockets, and the least sense behind them.

It matches a study by study UID or accession number when the patient's id and name agree, else it holds it.
"""

import json
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import N_CREATE, N_SET

from orchestrator.simulator.images import MPPS_CLASS, STORAGE_CLASSES
from orchestrator.simulator.modality import WORKLIST_CLASS
from orchestrator.simulator.ward import Targets

TOKEN = "the-token"


@dataclass
class Known:
    """Everything that was received, and the switches by which a test makes the stand-in misbehave."""

    messages: list[str] = field(default_factory=list)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    studies: dict[str, dict[str, Dataset]] = field(default_factory=dict)
    stores: Counter[str] = field(default_factory=Counter)
    created: dict[str, Dataset] = field(default_factory=dict)
    finished: dict[str, Dataset] = field(default_factory=dict)
    answer_code: str = "AA"
    silent_answers: int = 0
    broken_stores: int = 0
    matches_everything_to: str = ""
    keeps_canceled: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, text: str) -> None:
        segments = {line[:3]: line.split("|") for line in text.split("\r") if line}
        pid = segments["PID"]
        patient_id, name = pid[3].split("^")[0], _pn(pid[5])
        with self.lock:
            self.messages.append(text)
            self.names[patient_id] = name
            if "ORC" not in segments:
                return
            obr, control = segments["OBR"], segments["ORC"][1]
            known = self.orders.get(obr[18], {})
            if control == "CA" and not self.keeps_canceled:
                known["canceled"] = True
                return
            self.orders[obr[18]] = known | {
                "filler": obr[3].split("^")[0],
                "patient_id": patient_id,
                "birth_date": pid[7],
                "sex": pid[8],
                "start": obr[27].split("^")[3],
                "modality": obr[24],
                "station": segments["ORC"][18].split("^")[0],
                "procedure_id": obr[19],
                "sps_id": obr[20],
                "description": obr[44].split("^")[1],
                "study": segments.get("ZDS", ["", ""])[1].split("^")[0] or known.get("study") or generate_uid(),
            }

    def entries(self, station: str, day: str) -> Iterator[Dataset]:
        with self.lock:
            orders = dict(self.orders)
        for accession, order in orders.items():
            if order["station"] == station and order["start"][:8] == day and "canceled" not in order:
                yield worklist_entry(accession, order, self.names[order["patient_id"]])

    def resource(self, study_uid: str) -> dict[str, Any] | None:
        """As GET /api/v1/studies/ shows a study (CONTRACT, REST)."""
        objects = self.studies.get(study_uid)
        if not objects:
            return None
        ds = next(iter(objects.values()))
        accession = self.matches_everything_to or self._match(study_uid, ds)
        if accession is None:
            return {
                "study_instance_uid": study_uid,
                "identity": "HELD",
                "matched_by": None,
                "patient": None,
                "orders": [],
            }
        order = self.orders[accession]
        told = {"id": 1, "filler_order_number": order["filler"], "accession_number": accession}
        patient = {"id": 2, "identifiers": [{"value": order["patient_id"], "issuer": "NORTH"}]}
        return {"identity": "MATCHED", "matched_by": "auto", "patient": patient, "order": told, "orders": [told]}

    def _match(self, study_uid: str, ds: Dataset) -> str | None:
        discontinued = [
            self.created[uid].ScheduledStepAttributesSequence[0].StudyInstanceUID
            for uid, step in self.finished.items()
            if step.PerformedProcedureStepStatus == "DISCONTINUED"
        ]
        for accession, order in self.orders.items():
            same_order = study_uid == order["study"] or ds.AccessionNumber == accession
            name = str(ds.PatientName)
            same_patient = ds.PatientID == order["patient_id"] and name == self.names[order["patient_id"]]
            if same_order and same_patient and study_uid not in discontinued:
                return accession
        return None


def _pn(xpn: str) -> str:
    family, given, middle, suffix, prefix = (xpn.split("^") + [""] * 5)[:5]
    return "^".join((family, given, middle, prefix, suffix)).rstrip("^")


def worklist_entry(accession: str, order: dict[str, Any], name: str) -> Dataset:
    step = Dataset()
    step.ScheduledStationAETitle, step.Modality = order["station"], order["modality"]
    step.ScheduledProcedureStepStartDate = order["start"][:8]
    step.ScheduledProcedureStepStartTime = order["start"][8:]
    step.ScheduledProcedureStepID, step.ScheduledProcedureStepDescription = order["sps_id"], order["description"]
    entry = Dataset()
    entry.SpecificCharacterSet = "ISO_IR 192"
    entry.PatientName, entry.PatientID, entry.IssuerOfPatientID = name, order["patient_id"], "NORTH"
    entry.PatientBirthDate, entry.PatientSex = order["birth_date"], order["sex"]
    entry.AccessionNumber, entry.StudyInstanceUID = accession, order["study"]
    entry.RequestedProcedureID, entry.RequestedProcedureDescription = order["procedure_id"], order["description"]
    entry.ReferringPhysicianName = "Ordóñez^Pilar"
    entry.ScheduledProcedureStepSequence = [step]
    return entry


class _Hl7(socketserver.StreamRequestHandler):
    known: Known

    def handle(self) -> None:
        while frame := self._frame():
            text = frame.decode("utf-8")
            header = text.split("\r")[0].split("|")
            if self.known.silent_answers:
                self.known.silent_answers -= 1
                return
            if self.known.answer_code == "AA":
                self.known.apply(text)
            error = "" if self.known.answer_code == "AA" else "ERR||PID^1^3|101^Required field missing^HL70357|E\r"
            answer = f"MSH|^~\\&|F|F|{header[2]}|N|20260101||ACK|1|P|2.5.1\rMSA|{self.known.answer_code}|{header[9]}\r"
            self.wfile.write(b"\x0b" + (answer + error).encode() + b"\x1c\r")

    def _frame(self) -> bytes:
        received = b""
        while not received.endswith(b"\x1c\r"):
            byte = self.rfile.read(1)
            if not byte:
                return b""
            received += byte
        return received[1:-2]


class _Http(BaseHTTPRequestHandler):
    known: Known

    def do_GET(self) -> None:
        if self.headers["Authorization"] != f"Token {TOKEN}":
            self.send_error(401)
            return
        uid = parse_qs(urlparse(self.path).query)["study_instance_uid"][0]
        found = self.known.resource(uid)
        body = json.dumps({"count": 1, "next": None, "previous": None, "results": [found] if found else []}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Quiet."""

    def log_error(self, *args: Any) -> None:
        """Quiet."""


def _dicom_handlers(known: Known) -> list[evt.EventHandlerType]:
    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        step = event.identifier.ScheduledProcedureStepSequence[0]
        for entry in known.entries(step.ScheduledStationAETitle, step.ScheduledProcedureStepStartDate):
            yield 0xFF00, entry

    def create(event: evt.Event) -> tuple[int, Dataset]:
        ds, request = event.attribute_list, event.request
        assert isinstance(request, N_CREATE)
        known.created[str(request.AffectedSOPInstanceUID)] = ds
        return 0x0000, ds

    def finish(event: evt.Event) -> tuple[int, Dataset]:
        ds, request = event.modification_list, event.request
        assert isinstance(request, N_SET)
        known.finished[str(request.RequestedSOPInstanceUID)] = ds
        return 0x0000, ds

    def store(event: evt.Event) -> int:
        if known.broken_stores:
            known.broken_stores -= 1
            event.assoc.abort()
            return 0x0000
        ds = event.dataset
        ds.file_meta = event.file_meta
        known.stores[ds.SOPInstanceUID] += 1
        known.studies.setdefault(ds.StudyInstanceUID, {})[ds.SOPInstanceUID] = ds
        return 0x0000

    return [
        (evt.EVT_C_FIND, find),
        (evt.EVT_N_CREATE, create),
        (evt.EVT_N_SET, finish),
        (evt.EVT_C_STORE, store),
    ]


class _Mllp(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True


@contextmanager
def stand_in(known: Known, *, hl7_port: int = 0) -> Iterator[Targets]:
    """Open all sockets on free ports."""
    mllp = _Mllp(("127.0.0.1", hl7_port), type("Hl7", (_Hl7,), {"known": known}))
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Http", (_Http,), {"known": known}))
    ae = AE(ae_title="FIDUCIAL")
    for sop_class in (WORKLIST_CLASS, MPPS_CLASS, *STORAGE_CLASSES):
        ae.add_supported_context(sop_class)
    dicom = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=_dicom_handlers(known))
    assert dicom is not None
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in (mllp, http)]
    for thread in threads:
        thread.start()
    try:
        yield Targets(
            dicom=("127.0.0.1", int(dicom.server_address[1])),
            hl7=("127.0.0.1", int(mllp.server_address[1])),
            http=("127.0.0.1", int(http.server_address[1])),
            token=TOKEN,
        )
    finally:
        dicom.shutdown()
        for server, thread in zip((mllp, http), threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()
