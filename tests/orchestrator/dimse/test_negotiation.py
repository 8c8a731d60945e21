"""What is agreed when an association is made (PS3.8 7.1, PS3.7 annex D), in bytes, and what follows from it."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from unittest.mock import patch

import pytest
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import

from orchestrator.dimse import server
from orchestrator.dimse.messages import Request, Response
from tests.orchestrator.dimse.raw import (
    ABORTED,
    ACCEPTED,
    EXPLICIT,
    REJECTED,
    RawCaller,
    association_request,
    command,
    context,
    presentation_data,
    role,
)
from tests.orchestrator.dimse.serving import ECHO, associated, is_served

IMPLICIT, JPEG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.50"
WORKLIST, PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.31", "1.2.840.10008.5.1.4.1.2.1.1"


def answered(port: int, request: bytes) -> tuple[int, bytes]:
    with RawCaller(port, Verification) as caller:
        caller.raw(request)
        return caller.pdu()


def items(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, length = struct.unpack(">BxH", data[:4])
        yield kind, data[4 : 4 + length]
        data = data[4 + length :]


def results(acceptance: bytes) -> Mapping[int, tuple[int, str]]:
    """Context id → result and, where it is accepted, transfer syntax (PS3.8 9.3.3.2)."""
    contexts = [value for kind, value in items(acceptance[68:]) if kind == 0x21]
    return {each[0]: (each[2], each[8:].decode() if not each[2] else "") for each in contexts}


def roles(acceptance: bytes) -> Mapping[str, tuple[int, int]]:
    [user] = [value for kind, value in items(acceptance[68:]) if kind == 0x50]
    return {said[2:-2].decode(): (said[-2], said[-1]) for kind, said in items(user) if kind == 0x54}


def test_each_proposed_context_has_its_answer(port: int) -> None:
    kind, acceptance = answered(port, association_request(
        context(1, CTImageStorage, JPEG, EXPLICIT), context(3, WORKLIST, IMPLICIT, EXPLICIT),
        context(5, PATIENT_ROOT_FIND), context(7, WORKLIST, JPEG), context(9, "1.2.3.4", IMPLICIT),
    ))  # fmt: skip
    assert kind == ACCEPTED
    assert results(acceptance) == {1: (0, JPEG), 3: (0, EXPLICIT), 5: (3, ""), 7: (4, ""), 9: (0, IMPLICIT)}


def test_roles_are_granted_for_storage_and_left_usual_for_the_rest(port: int) -> None:
    proposed = [role(CTImageStorage, 1, 1), role(WORKLIST, 1, 1), role(MRImageStorage, 1, 1)]
    _, acceptance = answered(
        port, association_request(context(1, CTImageStorage), context(3, WORKLIST), roles=proposed)
    )
    assert roles(acceptance) == {CTImageStorage: (1, 1)}


@pytest.mark.parametrize(
    ("words", "why"),
    [({"version": 2}, (1, 2, 2)), ({"application_context": "1.2.3"}, (1, 1, 2))],
    ids=["protocol version", "application context"],
)
def test_what_speaks_another_protocol_is_told_so(port: int, words: dict[str, int | str], why: tuple[int, ...]) -> None:
    request = association_request(context(1, Verification), **words)  # type: ignore[arg-type]  # one of them each
    assert answered(port, request) == (REJECTED, bytes((0, *why)))


@pytest.mark.parametrize(
    "request_",
    [
        association_request(context(1, CTImageStorage), context(1, MRImageStorage)),
        association_request(context(1, "1." + "2" * 63)),
        association_request(context(1, CTImageStorage), roles=[role("1." + "2" * 65, 1, 1)]),
        association_request(context(1, CTImageStorage), maximum=7),
        association_request(context(2, CTImageStorage)),
    ],
    ids=["an id twice", "a long UID", "a long UID of a role", "PDUs for nothing", "an even id"],
)
def test_what_is_no_request_for_an_association_is_aborted(port: int, request_: bytes) -> None:
    assert answered(port, request_) == (ABORTED, bytes((0, 0, 2, 6)))


def test_thousands_of_roles_are_passed_over(port: int) -> None:
    many = [role(f"1.2.{number}", 1, 1) for number in range(2_800)]
    kind, acceptance = answered(port, association_request(context(1, CTImageStorage), roles=many))
    assert (kind, roles(acceptance)) == (ACCEPTED, {})


@pytest.mark.parametrize("maximum", [8, 16, 127, 1001, 16384])
def test_no_pdu_is_longer_than_the_peer_takes_and_fragments_are_even(port: int, maximum: int) -> None:
    def find(request: Request) -> Iterator[Response]:
        yield Response(0xFF00, bytes(range(250)) * 4)

    with (
        patch.object(server, "handler_for", return_value=find),
        RawCaller(port, WORKLIST) as caller,
    ):
        caller.raw(association_request(context(1, WORKLIST), maximum=maximum))
        assert caller.pdu()[0] == ACCEPTED
        caller.send(command(0x0020, WORKLIST), last=True, is_command=True)
        said, data, control = b"", b"", 0
        while control != 0x02:
            _, body = caller.pdu()
            assert len(body) <= maximum
            assert len(body) % 2 == 0
            control = body[5]
            if control & 1:
                said += body[6:]
            else:
                data += body[6:]
    assert data == bytes(range(250)) * 4
    assert b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\xff" in said


def test_values_of_one_pdu_and_of_many_are_one_message(port: int) -> None:
    asked: list[Request] = []

    def find(request: Request) -> Sequence[Response]:
        asked.append(request)
        return [Response(0x0000)]

    question = command(0x0020, WORKLIST, "1.2.3")
    with patch.object(server, "handler_for", return_value=find), associated(port, WORKLIST) as caller:
        caller.raw(presentation_data((1, question[:10]), (3, question[10:]), (0, b"abcd"), (0, b""), (2, b"ef")))
        assert caller.status() == 0x0000
        caller.raw(presentation_data((1, question[:10])) + presentation_data((3, question[10:]), (0, b"ab")))
        caller.raw(presentation_data((2, b"cdef")))
        assert caller.status() == 0x0000
    assert [request.dataset for request in asked] == [b"abcdef"] * 2


@pytest.mark.parametrize(
    ("pdu", "reason"),
    [
        (association_request(context(1, Verification)), (2, 2)),
        (struct.pack(">BxI", 0x02, 4) + bytes(4), (2, 2)),
        (struct.pack(">BxI", 0x06, 4) + bytes(4), (2, 2)),
        (struct.pack(">BxI", 0x09, 4) + bytes(4), (2, 1)),
        (presentation_data((3, ECHO), context_id=3), (2, 6)),
        (struct.pack(">BxIIBB", 0x04, 6, 99, 1, 3), (2, 6)),
    ],
    ids=["a second A-ASSOCIATE-RQ", "A-ASSOCIATE-AC", "A-RELEASE-RP", "no PDU", "an unknown context", "a long value"],
)  # fmt: skip
def test_what_does_not_belong_there_ends_the_association(port: int, pdu: bytes, reason: tuple[int, int]) -> None:
    with associated(port) as caller:
        caller.raw(pdu)
        assert caller.pdu() == (ABORTED, bytes((0, 0, *reason)))
        assert caller.is_closed()
    assert is_served(port)


def test_a_class_in_the_context_of_another_is_not_served(port: int) -> None:
    with associated(port, CTImageStorage) as caller:
        caller.send(command(0x0001, MRImageStorage, "1.2.3"), last=True, is_command=True)
        caller.send(b"\0\0\0\0", last=True)
        assert caller.status() == 0x0122
        caller.send(command(0x0030, Verification), last=True, is_command=True)
        assert caller.status() == 0x0122
