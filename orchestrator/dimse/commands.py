"""Command sets (PS3.7 6.3 and annex E): group 0000 in Implicit VR Little Endian, without data set objects.

Each message has two of them: as pydicom data sets they cost more than everything else that is done with a small object.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.dimse.messages import Response

# Command Field (0000,0100) of requests (PS3.7 E.1); a response has the highest bit set.
NAMES: Mapping[int, str] = {
    0x0001: "C-STORE", 0x0010: "C-GET", 0x0020: "C-FIND", 0x0021: "C-MOVE", 0x0030: "C-ECHO", 0x0100: "N-EVENT-REPORT",
    0x0110: "N-GET", 0x0120: "N-SET", 0x0130: "N-ACTION", 0x0140: "N-CREATE", 0x0150: "N-DELETE", 0x0FFF: "C-CANCEL",
}  # fmt: skip
_RESPONSE, _NO_DATA_SET, _A_DATA_SET = 0x8000, 0x0101, 0x0001
_AFFECTED_CLASS, _REQUESTED_CLASS, _FIELD, _MESSAGE_ID, _RESPONDED_TO = 0x0002, 0x0003, 0x0100, 0x0110, 0x0120
_PRIORITY, _MEDIUM, _STORE = 0x0700, 0x0000, 0x0001
_DATA_SET_TYPE, _STATUS, _OFFENDING, _COMMENT, _ERROR_ID = 0x0800, 0x0900, 0x0901, 0x0902, 0x0903
_AFFECTED_INSTANCE, _REQUESTED_INSTANCE, _EVENT_TYPE, _IDENTIFIERS, _ACTION_TYPE = (
    0x1000,
    0x1001,
    0x1002,
    0x1005,
    0x1008,
)
_LONGEST_UID = 128
_TYPES = {"N-EVENT-REPORT": _EVENT_TYPE, "N-ACTION": _ACTION_TYPE}


class NoCommand(Exception):
    """These bytes are not the command set that they should be."""


@dataclass(frozen=True, slots=True)
class Command:
    """A request's command set."""

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool
    # N-GET.
    attribute_identifiers: tuple[int, ...] = ()
    # C-CANCEL: the request that it ends.
    responded_to: int = 0
    # N-EVENT-REPORT and N-ACTION.
    type_id: int | None = None

    @property
    def name(self) -> str:
        return NAMES[self.field]


def read_command(encoded: bytes) -> Command:
    """Raises NoCommand."""
    found = dict(_elements(encoded))
    field = _number(found, _FIELD)
    if field is None or field not in NAMES:
        raise NoCommand(f"command field {field}")
    type_id = _TYPES.get(NAMES[field])
    identifiers = found.get(_IDENTIFIERS, b"")
    return Command(
        field=field,
        message_id=_number(found, _MESSAGE_ID) or 0,
        sop_class_uid=_uid(found.get(_AFFECTED_CLASS) or found.get(_REQUESTED_CLASS, b"")),
        sop_instance_uid=_uid(found.get(_AFFECTED_INSTANCE) or found.get(_REQUESTED_INSTANCE, b"")),
        has_data_set=_number(found, _DATA_SET_TYPE) not in (_NO_DATA_SET, None),
        attribute_identifiers=tuple(
            group << 16 | element for group, element in struct.iter_unpack("<HH", identifiers[: len(identifiers) & ~3])
        ),
        responded_to=_number(found, _RESPONDED_TO) or 0,
        type_id=_number(found, type_id) if type_id else None,
    )


def _elements(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 8 <= len(encoded):
        group, element, length = struct.unpack_from("<HHI", encoded, at)
        end = at + 8 + length
        if group or end > len(encoded):
            raise NoCommand("an element that is none of a command set, or longer than it")
        yield element, encoded[at + 8 : end]
        at = end


def _number(found: Mapping[int, bytes], element: int) -> int | None:
    value = found.get(element, b"")
    return int.from_bytes(value[:2], "little") if len(value) >= 2 else None


def _uid(value: bytes) -> str:
    if len(value) > _LONGEST_UID:
        raise NoCommand("a UID of more than twice the length that one may have")
    try:
        return value.decode("ascii").strip(" \0")
    except UnicodeDecodeError as error:
        raise NoCommand("a UID that is not ASCII") from error


@dataclass(frozen=True, slots=True)
class Answer:
    """A response's command set."""

    responded_to: int
    status: int
    error_comment: str


def read_answer(encoded: bytes) -> Answer:
    """The response to a C-STORE. Raises NoCommand."""
    found = dict(_elements(encoded))
    status, responded_to = _number(found, _STATUS), _number(found, _RESPONDED_TO)
    if _number(found, _FIELD) != _STORE | _RESPONSE or status is None or responded_to is None:
        raise NoCommand("no response to a C-STORE")
    comment = found.get(_COMMENT, b"").decode("ascii", "replace").strip(" \0")
    return Answer(responded_to, status, comment)


def write_store_request(message_id: int, *, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """C-STORE-RQ (PS3.7 9.3.1.1), of medium priority."""
    number = struct.Struct("<H").pack
    return _with_length(
        _element(_AFFECTED_CLASS, _padded(sop_class_uid, b"\0")),
        _element(_FIELD, number(_STORE)),
        _element(_MESSAGE_ID, number(message_id)),
        _element(_PRIORITY, number(_MEDIUM)),
        _element(_DATA_SET_TYPE, number(_A_DATA_SET)),
        _element(_AFFECTED_INSTANCE, _padded(sop_instance_uid, b"\0")),
    )


def write_response(request: Command, response: Response) -> bytes:
    """The command set that answers a request."""
    number = struct.Struct("<H").pack
    parts = [_element(_AFFECTED_CLASS, _padded(request.sop_class_uid, b"\0"))] if request.sop_class_uid else []
    parts += [
        _element(_FIELD, number(request.field | _RESPONSE)),
        _element(_RESPONDED_TO, number(request.message_id)),
        _element(_DATA_SET_TYPE, number(_A_DATA_SET if response.dataset else _NO_DATA_SET)),
        _element(_STATUS, number(response.status)),
    ]
    if response.offending_elements:
        tags = [struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in response.offending_elements]
        parts.append(_element(_OFFENDING, b"".join(tags)))
    if response.error_comment:
        parts.append(_element(_COMMENT, _padded(response.error_comment[:64], b" ")))
    if response.error_id is not None:
        parts.append(_element(_ERROR_ID, number(response.error_id)))
    if uid := response.sop_instance_uid or request.sop_instance_uid:
        parts.append(_element(_AFFECTED_INSTANCE, _padded(uid, b"\0")))
    if request.type_id is not None:
        parts.append(_element(_TYPES[request.name], number(request.type_id)))
    return _with_length(*parts)


def _with_length(*elements: bytes) -> bytes:
    """A command set, with its Command Group Length."""
    body = b"".join(elements)
    return _element(0x0000, struct.pack("<I", len(body))) + body


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, element, len(value)) + value


def _padded(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + padding * (len(value) % 2)
