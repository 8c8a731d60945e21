"""Association establishment (PS3.8 9.3.2 to 9.3.4, PS3.7 annex D): bytes in, bytes out.

As acceptor storage is unrestricted: every storage class, and every class that nobody knows, in the first transfer
syntax proposed. As requestor each context has one transfer syntax, so that we know which one is taken.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydicom.uid import UID
from pynetdicom import sop_class

# Announced as maximum length (PS3.8 D.1); who sends longer PDUs does not keep to it.
MAXIMUM_PDU_LENGTH = 1 << 20
IMPLEMENTATION_CLASS_UID = "2.25.62111918881563031981363448638407104248"
IMPLEMENTATION_VERSION_NAME = "FIDUCIAL"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
# Besides storage, in these transfer syntaxes.
SERVED: Mapping[str, str] = {
    "1.2.840.10008.1.1": "Verification",
    "1.2.840.10008.5.1.4.31": "Modality Worklist",
    "1.2.840.10008.3.1.2.3.3": "MPPS",
    "1.2.840.10008.3.1.2.3.4": "MPPS Retrieve",
}
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
# Where a peer does not say what it takes.
_USUAL_PDU_LENGTH = 16384
# Two bytes of a message, behind what a presentation data value begins with.
_LEAST_PDU_LENGTH = 8
# PS3.5 9.1.
_LONGEST_UID = 64
_ASSOCIATE_RQ, _ASSOCIATE_AC, _ASSOCIATE_RJ = 0x01, 0x02, 0x03
# (source, reason) of an A-ASSOCIATE-RJ.
_REASONS: Mapping[tuple[int, int], str] = {
    (1, 1): "no reason given", (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognised", (1, 7): "called AE title not recognised",
    (2, 1): "no reason given", (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion", (3, 2): "local limit exceeded",
}  # fmt: skip
_ACCEPTED, _ABSTRACT_SYNTAX_NOT_SUPPORTED, _TRANSFER_SYNTAXES_NOT_SUPPORTED = 0, 3, 4
_KNOWN = {str(uid) for uid in vars(sop_class).values() if isinstance(uid, UID)}
_STORAGE = {str(uid) for uid in sop_class._STORAGE_CLASSES.values()}
_NOT_STORAGE = frozenset(_KNOWN - _STORAGE)


class Malformed(Exception):
    """This is no A-ASSOCIATE-RQ, or no answer to one."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """A presentation context (PS3.8 9.3.2.2)."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """What an A-ASSOCIATE-RQ says."""

    # Called and calling AE title and the reserved field behind them, which come back in the answer.
    titles: bytes
    protocol_version: int
    application_context: str
    contexts: Sequence[Proposed]
    # SOP class → (SCU role, SCP role) (PS3.7 D.3.3.4).
    roles: Mapping[str, tuple[int, int]]
    # Of the PDUs that the peer takes; 0 is without limit.
    maximum_length: int

    @property
    def called_ae_title(self) -> str:
        return self.titles[:16].decode("ascii").strip(" \0")

    @property
    def calling_ae_title(self) -> str:
        return self.titles[16:32].decode("ascii").strip(" \0")


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context as answered."""

    context_id: int
    result: int
    abstract_syntax: str
    transfer_syntax: str

    @property
    def is_accepted(self) -> bool:
        return self.result == _ACCEPTED


def read_request(body: bytes) -> AssociateRequest:
    """The variable part of an A-ASSOCIATE-RQ, behind its length. Raises Malformed."""
    if len(body) < 68:
        raise Malformed("too short")
    contexts: list[Proposed] = []
    roles: dict[str, tuple[int, int]] = {}
    maximum_length, application_context = _USUAL_PDU_LENGTH, ""
    for kind, value in _items(body, 68):
        if kind == 0x10:
            application_context = _text(value)
        elif kind == 0x20:
            contexts.append(_context(value))
        elif kind == 0x50:
            for inner, said in _items(value, 0):
                if inner == 0x51 and len(said) == 4:
                    (maximum_length,) = struct.unpack(">I", said)
                elif inner == 0x54 and len(said) > 4:
                    roles[_text(said[2:-2])] = (said[-2], said[-1])
    _check_maximum_length(maximum_length)
    # Odd and of one byte (PS3.8 9.3.2.2): so there are at most 128, too.
    if len({each.context_id for each in contexts}) < len(contexts):
        raise Malformed("two presentation contexts with one id")
    (protocol_version,) = struct.unpack_from(">H", body)
    request = AssociateRequest(
        bytes(body[4:68]), protocol_version, application_context, contexts, roles, maximum_length
    )
    if not all(map(_is_ae_title, (request.titles[:16], request.titles[16:32]))):
        raise Malformed("an AE title that is none")
    return request


def _check_maximum_length(maximum_length: int) -> None:
    if 0 < maximum_length < _LEAST_PDU_LENGTH:
        raise Malformed("PDUs so short hold nothing")


def _is_ae_title(field: bytes) -> bool:
    """PS3.5 6.2: the default repertoire without control characters and backslash, not only spaces."""
    title = field.strip(b" \0")
    return bool(title) and all(0x20 <= byte < 0x7F and byte != 0x5C for byte in title)


def _items(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at < len(data):
        if at + 4 > len(data):
            raise Malformed("half an item")
        kind, length = struct.unpack_from(">BxH", data, at)
        at += 4 + length
        if at > len(data):
            raise Malformed("an item that is longer than what it stands in")
        yield kind, bytes(data[at - length : at])


def _context(value: bytes) -> Proposed:
    if len(value) < 4 or not value[0] % 2:
        raise Malformed("a presentation context without an odd id")
    syntaxes: dict[int, list[str]] = {0x30: [], 0x40: []}
    for kind, uid in _items(value, 4):
        syntaxes.setdefault(kind, []).append(_text(uid))
    if len(syntaxes[0x30]) != 1 or not syntaxes[0x40]:
        raise Malformed("a presentation context without its syntaxes")
    return Proposed(value[0], syntaxes[0x30][0], tuple(syntaxes[0x40]))


def _text(uid: bytes) -> str:
    try:
        text = uid.decode("ascii").strip(" \0")
    except UnicodeDecodeError as error:
        raise Malformed("a UID that is not ASCII") from error
    if len(text) > _LONGEST_UID:
        raise Malformed("a UID of more than 64 characters")
    return text


def negotiated(request: AssociateRequest) -> list[Context]:
    """The answer to each proposed context."""
    return [Context(each.context_id, *_result(each)) for each in request.contexts]


def _result(proposed: Proposed) -> tuple[int, str, str]:
    abstract, first = proposed.abstract_syntax, proposed.transfer_syntaxes[0]
    if abstract in SERVED:
        for syntax in (EXPLICIT, IMPLICIT):
            if syntax in proposed.transfer_syntaxes:
                return _ACCEPTED, abstract, syntax
        return _TRANSFER_SYNTAXES_NOT_SUPPORTED, abstract, first
    return _ABSTRACT_SYNTAX_NOT_SUPPORTED if abstract in _NOT_STORAGE else _ACCEPTED, abstract, first


def acceptance(request: AssociateRequest, contexts: Sequence[Context]) -> bytes:
    """A-ASSOCIATE-AC (PS3.8 9.3.3)."""
    items = [_item(0x10, APPLICATION_CONTEXT.encode())]
    for each in contexts:
        syntax = _item(0x40, each.transfer_syntax.encode())
        items.append(_item(0x21, struct.pack(">BxBx", each.context_id, each.result) + syntax))
    return _associate(_ASSOCIATE_AC, request.titles, items, _roles(request, contexts))


def proposal(*, called: str, calling: str, contexts: Mapping[int, tuple[str, str]]) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2) with these presentation contexts: abstract and transfer syntax."""
    titles = called.encode("ascii").ljust(16) + calling.encode("ascii").ljust(16) + bytes(32)
    items = [_item(0x10, APPLICATION_CONTEXT.encode())]
    for context_id, (abstract, transfer) in contexts.items():
        syntaxes = _item(0x30, abstract.encode()) + _item(0x40, transfer.encode())
        items.append(_item(0x20, struct.pack(">Bxxx", context_id) + syntaxes))
    return _associate(_ASSOCIATE_RQ, titles, items, [])


def _associate(kind: int, titles: bytes, items: Sequence[bytes], roles: Iterable[bytes]) -> bytes:
    user = [
        _item(0x51, struct.pack(">I", MAXIMUM_PDU_LENGTH)),
        _item(0x52, IMPLEMENTATION_CLASS_UID.encode()),
        *roles,
        _item(0x55, IMPLEMENTATION_VERSION_NAME.encode()),
    ]
    body = b"".join([struct.pack(">Hxx", 1), titles, *items, _item(0x50, b"".join(user))])
    return struct.pack(">BxI", kind, len(body)) + body


def read_acceptance(body: bytes) -> tuple[Mapping[int, str], int]:
    """Of an A-ASSOCIATE-AC (PS3.8 9.3.3): the accepted contexts with their transfer syntaxes, and the longest PDU.

    Raises Malformed.
    """
    if len(body) < 68:
        raise Malformed("too short")
    accepted: dict[int, str] = {}
    maximum_length = _USUAL_PDU_LENGTH
    for kind, value in _items(body, 68):
        if kind == 0x21:
            if len(value) < 4:
                raise Malformed("half a presentation context")
            if value[2] == _ACCEPTED:
                accepted[value[0]] = next((_text(said) for inner, said in _items(value, 4) if inner == 0x40), "")
        elif kind == 0x50:
            for inner, said in _items(value, 0):
                if inner == 0x51 and len(said) == 4:
                    (maximum_length,) = struct.unpack(">I", said)
    _check_maximum_length(maximum_length)
    return accepted, maximum_length


def _roles(request: AssociateRequest, contexts: Sequence[Context]) -> Iterator[bytes]:
    """For storage either role, as it was proposed; for the rest, by saying nothing, the usual ones."""
    accepted = {each.abstract_syntax for each in contexts if each.is_accepted} - SERVED.keys()
    for uid in sorted(accepted & request.roles.keys()):
        scu, scp = request.roles[uid]
        yield _item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes((bool(scu), bool(scp))))


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def rejection(result: int, source: int, reason: int) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return struct.pack(">BxIxBBB", _ASSOCIATE_RJ, 4, result, source, reason)


def why_rejected(body: bytes) -> str:
    """The reason in an A-ASSOCIATE-RJ (PS3.8 table 9-21), in words."""
    return _REASONS.get((body[2], body[3]), "no reason given") if len(body) == 4 else "no reason given"
