"""A DICOM client on plain blocking sockets (PS3.8 9.3, PS3.7 9.1): messages are encoded before the clock starts."""

import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
WORKLIST = "1.2.840.10008.5.1.4.31"
CALLING = "CT_BENCH"
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_CONTEXT = 1
_P_DATA, _ACCEPTED = 4, 2
_PENDING = {0xFF00, 0xFF01}
# (0000,0900) Status, US, implicit VR little endian: tag and length.
_STATUS = b"\x00\x00\x00\x09\x02\x00\x00\x00"
_OUR_MAXIMUM = 1 << 20


class Refused(Exception):
    """The peer said something else than what the benchmark needs."""


def _element(element: int, value: bytes) -> bytes:
    """An element of group 0000."""
    return struct.pack("<HHL", 0, element, len(value)) + value


def _uid(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def store_command(sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """C-STORE-RQ (PS3.7 9.3.1.1)."""
    return _command(0x0001, sop_class_uid, _element(0x1000, _uid(sop_instance_uid)))


def find_command() -> bytes:
    """C-FIND-RQ of the worklist (PS3.7 9.3.2.1)."""
    return _command(0x0020, WORKLIST, b"")


def _command(field: int, sop_class_uid: str, more: bytes) -> bytes:
    body = _element(0x0002, _uid(sop_class_uid)) + _element(0x0100, struct.pack("<H", field))
    body += _element(0x0110, struct.pack("<H", 1)) + _element(0x0700, struct.pack("<H", 0))
    body += _element(0x0800, struct.pack("<H", 0)) + more
    return _element(0x0000, struct.pack("<L", len(body))) + body


def message(command: bytes, data_set: bytes, maximum: int) -> bytes:
    """A command and its data set as P-DATA-TF PDUs of at most `maximum` bytes, ready to be written at once."""
    room = min(maximum or _OUR_MAXIMUM, _OUR_MAXIMUM) - 6
    pdus = [_p_data(command, 0x03)]
    for start in range(0, len(data_set), room):
        last = 0x02 if start + room >= len(data_set) else 0x00
        pdus.append(_p_data(data_set[start : start + room], last))
    return b"".join(pdus)


def _p_data(fragment: bytes, control: int) -> bytes:
    value = struct.pack(">LBB", len(fragment) + 2, _CONTEXT, control) + fragment
    return struct.pack(">BxL", _P_DATA, len(value)) + value


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


class Association:
    """One association with one presentation context."""

    def __init__(self, port: int, *, called: str, sop_class_uid: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = self._socket.makefile("rb")
        context = struct.pack(">Bxxx", _CONTEXT) + _item(0x30, sop_class_uid.encode())
        context += _item(0x40, EXPLICIT_LITTLE_ENDIAN.encode())
        user = _item(0x51, struct.pack(">L", _OUR_MAXIMUM)) + _item(0x52, b"2.25.1")
        body = struct.pack(">Hxx16s16s32x", 1, called.ljust(16).encode(), CALLING.ljust(16).encode())
        body += _item(0x10, _APPLICATION_CONTEXT.encode()) + _item(0x20, context) + _item(0x50, user)
        self._socket.sendall(struct.pack(">BxL", 1, len(body)) + body)
        kind, answer = self._pdu()
        if kind != _ACCEPTED:
            raise Refused(f"{called} on port {port} did not accept the association (PDU type {kind})")
        at = answer.index(b"\x51\x00\x00\x04") + 4
        self.maximum = int(struct.unpack(">L", answer[at : at + 4])[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._socket.sendall(struct.pack(">BxLL", 5, 4, 0))
            self._pdu()
        self._input.close()
        self._socket.close()

    def ask(self, pdus: bytes) -> int:
        """Write one message and read every response: how many were pending. Raises Refused unless the last is 0000."""
        self._socket.sendall(pdus)
        for pending, status in enumerate(self._statuses()):
            if status not in _PENDING:
                if status:
                    raise Refused(f"status {status:04X}")
                return pending
        raise Refused("the connection ended")

    def _statuses(self) -> Iterator[int]:
        while True:
            kind, body = self._pdu()
            if kind != _P_DATA:
                raise Refused(f"PDU type {kind} instead of a response")
            start = 0
            while start < len(body):
                length, _, control = struct.unpack(">LBB", body[start : start + 6])
                if control & 1:
                    at = body.index(_STATUS, start) + len(_STATUS)
                    yield int(struct.unpack("<H", body[at : at + 2])[0])
                start += 4 + length

    def _pdu(self) -> tuple[int, bytes]:
        head = self._input.read(6)
        if len(head) < 6:
            raise Refused("the connection ended")
        kind, length = struct.unpack(">BxL", head)
        return int(kind), self._input.read(length)
