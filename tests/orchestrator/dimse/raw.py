"""A DICOM caller made of bytes: for what no library would send, and for many callers that cost nothing."""

import socket
import struct
from io import BytesIO
from types import TracebackType

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.dsutils import decode
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

from tests.peers import LOOPBACK

ACCEPTED, RELEASED = 0x02, 0x06


def encoded(ds: Dataset, *, implicit: bool = False) -> bytes:
    """A data set as it travels in little endian."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
    write_dataset(buffer, ds)
    return bytes(buffer.getvalue())


def command(field: int, sop_class_uid: str, sop_instance_uid: str = "") -> bytes:
    """A request's command set (PS3.7 E.1), with its group length; with an instance UID a data set follows."""
    ds = Dataset()
    ds.AffectedSOPClassUID, ds.CommandField, ds.MessageID = sop_class_uid, field, 1
    ds.CommandDataSetType = 0x0001 if sop_instance_uid else 0x0101
    if sop_instance_uid:
        ds.Priority, ds.AffectedSOPInstanceUID = 2, sop_instance_uid
    raw = encoded(ds, implicit=True)
    return struct.pack("<HHII", 0, 0, 4, len(raw)) + raw


class RawCaller:
    """One connection with one presentation context."""

    def __init__(self, port: int, sop_class_uid: str) -> None:
        self._connection = socket.create_connection((LOOPBACK, port), timeout=60)
        self._sop_class_uid = sop_class_uid

    def __enter__(self) -> "RawCaller":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def associate(self) -> None:
        """A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
        context = build_context(self._sop_class_uid, ExplicitVRLittleEndian)
        context.context_id = 1
        length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
        length.maximum_length_received = 16384
        implementation.implementation_class_uid = "1.2.826.0.1.3680043.8.498.1"
        primitive = A_ASSOCIATE()
        primitive.application_context_name = "1.2.840.10008.3.1.1.1"
        primitive.calling_ae_title, primitive.called_ae_title = "CT_NORTH", "FIDUCIAL"
        primitive.user_information = [length, implementation]
        primitive.presentation_context_definition_list = [context]
        request = A_ASSOCIATE_RQ()
        request.from_primitive(primitive)
        self._connection.sendall(request.encode())

    def send(self, fragment: bytes, *, last: bool, is_command: bool = False) -> None:
        """One P-DATA-TF with one presentation data value (PS3.8 E.2)."""
        value = struct.pack(">IBB", len(fragment) + 2, 1, is_command | last << 1) + fragment
        self._connection.sendall(struct.pack(">BBI", 0x04, 0, len(value)) + value)

    def raw(self, data: bytes) -> None:
        self._connection.sendall(data)

    def is_closed(self) -> bool:
        """Whether the other side says nothing more."""
        try:
            return self._connection.recv(1) == b""
        except ConnectionError:
            return True

    def release(self) -> None:
        self._connection.sendall(struct.pack(">BBII", 0x05, 0, 4, 0))

    def pdu(self) -> tuple[int, bytes]:
        """The next PDU: its type and what is in it."""
        kind, _, length = struct.unpack(">BBI", self._connection.recv(6, socket.MSG_WAITALL))
        return kind, self._connection.recv(length, socket.MSG_WAITALL)

    def status(self) -> int:
        """The status in the next response."""
        _, content = self.pdu()
        return int(decode(BytesIO(content[6:]), True, True).Status)
