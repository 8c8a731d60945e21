"""A DICOM caller made of bytes: for what no library would send, and for many callers that cost nothing."""

import socket
import struct
from collections.abc import Sequence
from io import BytesIO
from types import TracebackType

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom.dsutils import decode

from tests.peers import LOOPBACK

ACCEPTED, REJECTED, P_DATA, RELEASED, ABORTED = 0x02, 0x03, 0x04, 0x06, 0x07
EXPLICIT = "1.2.840.10008.1.2.1"


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


def item(kind: int, value: bytes) -> bytes:
    """An item of an A-ASSOCIATE PDU (PS3.8 9.3.2)."""
    return struct.pack(">BxH", kind, len(value)) + value


def context(context_id: int, sop_class_uid: str, *syntaxes: str) -> bytes:
    """A presentation context (PS3.8 9.3.2.2)."""
    proposed = [item(0x40, syntax.encode()) for syntax in syntaxes or (EXPLICIT,)]
    return item(0x20, struct.pack(">Bxxx", context_id) + item(0x30, sop_class_uid.encode()) + b"".join(proposed))


def role(sop_class_uid: str, scu: int, scp: int) -> bytes:
    """SCP/SCU Role Selection (PS3.7 D.3.3.4)."""
    return item(0x54, struct.pack(">H", len(sop_class_uid)) + sop_class_uid.encode() + bytes((scu, scp)))


def association_request(
    *contexts: bytes, maximum: int = 16384, roles: Sequence[bytes] = (), version: int = 1,
    application_context: str = "1.2.840.10008.3.1.1.1",
) -> bytes:  # fmt: skip
    """A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    user = item(0x51, struct.pack(">I", maximum)) + item(0x52, b"2.25.1") + b"".join(roles)
    body = struct.pack(">Hxx16s16s32x", version, b"FIDUCIAL".ljust(16), b"CT_NORTH".ljust(16))
    body += item(0x10, application_context.encode()) + b"".join(contexts) + item(0x50, user)
    return struct.pack(">BxI", 0x01, len(body)) + body


def presentation_data(*values: tuple[int, bytes], context_id: int = 1) -> bytes:
    """One P-DATA-TF with several presentation data values: message control header and fragment of each (PS3.8 E.2)."""
    body = b"".join(struct.pack(">IBB", len(data) + 2, context_id, control) + data for control, data in values)
    return struct.pack(">BxI", P_DATA, len(body)) + body


class RawCaller:
    """One connection with one presentation context, on a socket of its own or the one that is given."""

    def __init__(self, port: int, sop_class_uid: str, connection: socket.socket | None = None) -> None:
        self._connection = connection or socket.create_connection((LOOPBACK, port), timeout=60)
        # What is sent in pieces arrives in pieces, and at once.
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = self._connection.makefile("rb")
        self._sop_class_uid = sop_class_uid

    def __enter__(self) -> "RawCaller":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._input.close()
        self._connection.close()

    def associate(self) -> None:
        """A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
        self._connection.sendall(association_request(context(1, self._sop_class_uid)))

    def send(self, fragment: bytes, *, last: bool, is_command: bool = False) -> None:
        """One P-DATA-TF with one presentation data value (PS3.8 E.2)."""
        value = struct.pack(">IBB", len(fragment) + 2, 1, is_command | last << 1) + fragment
        self._connection.sendall(struct.pack(">BBI", 0x04, 0, len(value)) + value)

    def raw(self, data: bytes) -> None:
        self._connection.sendall(data)

    def is_closed(self) -> bool:
        """Whether the other side says nothing more."""
        try:
            return self._input.read(1) == b""
        except ConnectionError:
            return True

    def release(self) -> None:
        self._connection.sendall(struct.pack(">BBII", 0x05, 0, 4, 0))

    def pdu(self) -> tuple[int, bytes]:
        """The next PDU: its type and what is in it."""
        kind, _, length = struct.unpack(">BBI", self._input.read(6))
        return kind, self._input.read(length)

    def status(self) -> int:
        """The status in the next response."""
        _, content = self.pdu()
        return int(decode(BytesIO(content[6:]), True, True).Status)
