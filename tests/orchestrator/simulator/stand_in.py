"""A stand-in for Fiducial in the hospital's own tests: real sockets, and the least sense behind them."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import N_CREATE, N_SET

from orchestrator.simulator.images import MPPS_CLASS
from orchestrator.simulator.iods import STORAGE_CLASSES
from orchestrator.simulator.modality import WORKLIST_CLASS
from orchestrator.simulator.ward import Targets
from tests.orchestrator.simulator.least_sense import Known

TOKEN = "the-token"


class _Hl7(socketserver.StreamRequestHandler):
    known: Known

    def handle(self) -> None:
        while frame := self._frame():
            code, text = self._read(frame)
            header = text.split("\r")[0].split("|")
            if self.known.silent_answers:
                self.known.silent_answers -= 1
                return
            if code == "AA":
                self.known.apply(text)
            error = "" if code == "AA" else "ERR||PID^1^3|101^Required field missing^HL70357|E\r"
            answer = f"MSH|^~\\&|F|F|{header[2]}|N|20260101||ACK|1|P|2.5.1\rMSA|{code}|{header[9]}\r"
            self.wfile.write(b"\x0b" + (answer + error).encode() + b"\x1c\r")

    def _read(self, frame: bytes) -> tuple[str, str]:
        """What to answer, and the text: in what its header names it must be readable."""
        try:
            text = frame.decode("utf-8")
        except UnicodeDecodeError:
            return "AE", frame.decode("iso8859-1")
        return self.known.refusal(text), text

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
        address = urlparse(self.path)
        found = self._found(
            address.path.split("/")[3], {name: each[0] for name, each in parse_qs(address.query).items()}
        )
        self._answer({"count": len(found), "next": None, "previous": None, "results": found})

    def do_POST(self) -> None:
        self._keep(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def do_PATCH(self) -> None:
        self.do_POST()

    def _keep(self, body: dict[str, Any]) -> None:
        """Configuration: kept as it is said."""
        resource, number = [*self.path.split("/")[3:5], ""][:2]
        rows = self.known.configured.setdefault(resource, [])
        if self.command == "POST" and not number:
            rows.append({"id": len(rows) + 1, "default_issuer": None, **body})
            number = str(len(rows))
        elif self.command == "PATCH":
            rows[int(number) - 1].update(body)
        self._answer(rows[int(number) - 1])

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _found(self, resource: str, asked: dict[str, str]) -> list[dict[str, Any]]:
        if resource == "exceptions":
            return self._cases(asked)
        if resource == "orders":
            return self.known.orders(asked["filler_order_number"])
        if resource == "messages":
            status = "APPLIED" if self.known.takes_merges else "REJECTED"
            return [{"id": 5, "control_id": asked["control_id"], "status": status}]
        if resource != "studies":
            return self.known.configured.get(resource, [])
        found = self.known.resource(asked["study_instance_uid"])
        return [found] if found else []

    def _cases(self, asked: dict[str, str]) -> list[dict[str, Any]]:
        if "message" in asked:
            refused = {"id": 5, "kind": "hl7_rejected", "reason_code": "ADT^A40", "status": "OPEN"}
            return [] if self.known.asks_nobody or self.known.takes_merges else [refused]
        if self.path.endswith("/candidates/"):
            return [] if self.known.offers_nothing else [{"order": order} for order in self.known.orders()]
        return self.known.cases(asked["study_instance_uid"]) if "study_instance_uid" in asked else []

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
        ds.file_meta, ds.calling = event.file_meta, event.assoc.requestor.ae_title
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
    for sop_class in (WORKLIST_CLASS, MPPS_CLASS, SecondaryCaptureImageStorage, *STORAGE_CLASSES):
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
