"""An association that we ask for (PS3.8 9.2): what is offered, what becomes of an object, and peers that misbehave."""

import contextlib
import io
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from orchestrator.dimse import negotiation
from orchestrator.dimse.assembly import IS_COMMAND, IS_LAST, values
from orchestrator.dimse.commands import Answer, read_command, write_store_request
from orchestrator.dimse.requestor import Rejected, Requestor, StoreRequest, UnknownHost, Unreachable, portions
from tests.orchestrator.dimse.raw import encoded, presentation_data
from tests.peers import LOOPBACK, free_port, wait_for

PAIRS = [(CTImageStorage, ExplicitVRLittleEndian), (MRImageStorage, ExplicitVRLittleEndian)]
RELEASE_RQ, ABORT = b"\x05\0\0\0\0\4\0\0\0\0", b"\x07\0\0\0\0\4\0\0\2\0"
REJECTION = negotiation.rejection(1, 1, 7)


def acceptance(request: bytes) -> bytes:
    asked = negotiation.read_request(request)
    return negotiation.acceptance(asked, negotiation.negotiated(asked))


def response(message_id: int = 1, status: int = 0x0000, comment: str = "") -> bytes:
    """A command set as another library writes it."""
    ds = Dataset()
    ds.CommandField, ds.MessageIDBeingRespondedTo, ds.CommandDataSetType, ds.Status = 0x8001, message_id, 0x0101, status
    if comment:
        ds.ErrorComment = comment
    raw = encoded(ds, implicit=True)
    return struct.pack("<HHII", 0, 0, 4, len(raw)) + raw


class Peer:
    """A peer of bytes: answers the A-ASSOCIATE-RQ with `accept`, then does `then` with its connection."""

    def __init__(
        self, accept: Callable[[bytes], bytes] = acceptance, then: Callable[[socket.socket], None] = lambda _: None
    ) -> None:
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listening.getsockname()[1]
        self.heard: list[tuple[int, bytes]] = []
        self._accept, self._then = accept, then
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        connection, _ = self._listening.accept()
        with connection, connection.makefile("rb") as reading:
            self._hear(reading)
            connection.sendall(self._accept(self.heard[0][1]))
            self._then(connection)
            while self._hear(reading):
                pass

    def _hear(self, reading: io.BufferedReader) -> bool:
        try:
            head = reading.read(6)
        except ConnectionResetError:
            return False
        if len(head) < 6:
            return False
        self.heard.append((head[0], reading.read(int.from_bytes(head[2:], "big"))))
        return True

    def close(self) -> None:
        self._listening.close()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    made: list[Peer] = []
    yield made
    for each in made:
        each.close()


def called(peer: Peer, seconds: float = 5) -> Requestor:
    return Requestor((LOOPBACK, peer.port), called="ARCHIVE", calling="FIDUCIAL", pairs=PAIRS, seconds=seconds)


def sent(association: Requestor, data: bytes = b"abcd", seconds: float = 5) -> Answer | None:
    request = StoreRequest(CTImageStorage, "1.2.3", ExplicitVRLittleEndian, io.BytesIO(data))
    return association.store(request, seconds=seconds, stall_seconds=seconds)


# --- bytes ----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    size=st.integers(1, 700_000),
    maximum=st.sampled_from([0, 8, 9, 64, 4096, 16384, 16385, 131072, 1 << 20, 1 << 30]),
)
def test_a_message_in_pdus_is_the_message_whatever_the_peer_takes(size: int, maximum: int) -> None:
    size = min(size, 2000) if 0 < maximum <= 64 else size
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    command = write_store_request(7, sop_class_uid=CTImageStorage, sop_instance_uid="1.2.3")
    stream = b"".join(portions(3, command, io.BytesIO(data), maximum))
    got, last, at = {IS_COMMAND: b"", 0: b""}, [], 0
    while at < len(stream):
        kind, length = struct.unpack_from(">BxI", stream, at)
        assert kind == 0x04
        assert not maximum or length <= maximum
        for context_id, control, fragment in values(stream[at + 6 : at + 6 + length]):
            assert context_id == 3
            got[control & IS_COMMAND] += bytes(fragment)
            last.append(control) if control & IS_LAST else None
        at += 6 + length
    assert got == {IS_COMMAND: command, 0: data}
    assert last == [IS_COMMAND | IS_LAST, IS_LAST]
    asked = read_command(command)
    assert (asked.name, asked.message_id, asked.sop_class_uid, asked.sop_instance_uid, asked.has_data_set) == (
        "C-STORE", 7, CTImageStorage, "1.2.3", True,
    )  # fmt: skip


def test_what_is_large_is_never_in_memory() -> None:
    most = max(map(len, portions(1, b"command", io.BytesIO(bytes(3 << 20)), 16384)))
    assert most < 300_000


@settings(deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: bytes(68) + tail))
def test_any_bytes_are_an_acceptance_or_malformed(body: bytes) -> None:
    try:
        accepted, maximum = negotiation.read_acceptance(body)
    except negotiation.Malformed:
        return
    assert len(body) >= 68
    assert maximum == 0 or maximum >= 8
    assert all(0 <= key < 256 for key in accepted)


# --- what the peer says ---------------------------------------------------------------------------------


def test_an_object_is_stored_and_the_association_released(peers: list[Peer]) -> None:
    peers.append(Peer(then=lambda c: c.sendall(presentation_data((3, response(1, 0xB000, "coerced"))) + RELEASED)))
    association = called(peers[0])
    assert association.accepted == frozenset(PAIRS)
    assert sent(association) == Answer(1, 0xB000, "coerced")
    association.release()
    assert not association.is_open
    peers[0].close()
    assert [kind for kind, _ in peers.pop().heard] == [0x01, 0x04, 0x04, 0x05]


RELEASED = b"\x06\0\0\0\0\4\0\0\0\0"


def test_an_answer_in_pieces_is_one_answer(peers: list[Peer]) -> None:
    said = response(1, 0xA700)
    pieces = presentation_data((1, said[:9])) + presentation_data((1, said[9:20]), (3, said[20:]))
    peers.append(Peer(then=lambda c: c.sendall(pieces)))
    association = called(peers[0])
    assert sent(association) == Answer(1, 0xA700, "")
    assert association.is_open
    association.abort()


@pytest.mark.parametrize(
    "said",
    [
        presentation_data((3, response(2))), presentation_data((2, b"a data set")), presentation_data((3, b"nonsense")),
        presentation_data((3, response(1)[:-2])), b"\x04\0\0\0\0\3\0\0\0", b"GET / HTTP/1.1\r\n\r\n", ABORT,
        presentation_data((1, bytes(40_000))) * 3,
    ],
    ids=["to another", "a data set", "no command", "half a command", "half a value", "no PDU", "abort", "no end"],
)  # fmt: skip
def test_what_is_no_answer_leaves_it_unknown_and_ends_the_association(said: bytes, peers: list[Peer]) -> None:
    peers.append(Peer(then=lambda c: c.sendall(said)))
    association = called(peers[0])
    assert sent(association) is None
    assert not association.is_open


def test_an_answer_that_drips_is_not_waited_for_longer_than_another(peers: list[Peer]) -> None:
    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for byte in presentation_data((3, response())):
                connection.sendall(bytes((byte,)))
                over.wait(0.1)

    over = threading.Event()
    peers.append(Peer(then=drip))
    association = called(peers[0])
    started = time.monotonic()
    assert sent(association, seconds=0.5) is None
    assert time.monotonic() - started < 5, "as long as it drips"
    over.set()


@pytest.mark.parametrize("when", ["while we wait", "between objects"])
def test_a_release_is_answered_and_nothing_said_after_it(when: str, peers: list[Peer]) -> None:
    peers.append(Peer(then=lambda connection: connection.sendall(RELEASE_RQ)))
    association = called(peers[0])
    if when == "while we wait":
        assert sent(association) is None
    else:
        wait_for(lambda: not association.is_alive, what="that the release is noticed")
    assert not association.is_open
    peer = peers.pop()
    peer.close()
    assert peer.heard[-1][0] == 0x06


def test_a_peer_that_takes_nothing_more_is_given_up(peers: list[Peer]) -> None:
    over = threading.Event()

    def read_nothing(_: socket.socket) -> None:
        over.wait(20)

    peers.append(Peer(then=read_nothing))
    association = called(peers[0])
    started = time.monotonic()
    assert sent(association, bytes(64 << 20), seconds=0.5) is None
    assert time.monotonic() - started < 10
    over.set()


def test_a_peer_that_has_gone_is_noticed_before_the_next_object(peers: list[Peer]) -> None:
    peers.append(Peer(then=lambda c: c.shutdown(socket.SHUT_WR)))
    association = called(peers[0])
    wait_for(lambda: not association.is_alive, what="that the peer's end is noticed")
    assert not association.is_open


# --- establishment --------------------------------------------------------------------------------------


def test_a_rejection_says_why_and_whether_it_is_for_good(peers: list[Peer]) -> None:
    peers.append(Peer(lambda _: REJECTION))
    with pytest.raises(Rejected, match="called AE title not recognised") as refused:
        called(peers[0])
    assert refused.value.permanent
    peers.append(Peer(lambda _: negotiation.rejection(2, 3, 1)))
    with pytest.raises(Rejected, match="temporary congestion") as refused:
        called(peers[1])
    assert not refused.value.permanent


@pytest.mark.parametrize(
    "said",
    [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x02\0\0\0\0\4\0\0\0\0", b"\x02\0\0\0\0\4", ABORT, RELEASE_RQ],
    ids=["nothing", "another protocol", "too short", "half", "abort", "release"],
)
def test_what_is_no_answer_to_our_call_is_unreachable(said: bytes, peers: list[Peer]) -> None:
    peers.append(Peer(lambda _: said))
    with pytest.raises(Unreachable):
        called(peers[0], seconds=0.3)


def test_nobody_at_the_port_and_no_such_host() -> None:
    address, more = (LOOPBACK, free_port()), {"called": "A", "calling": "B"}
    with pytest.raises(Unreachable):
        Requestor(address, pairs=PAIRS, seconds=1, **more)
    for host in ("no-such-host.invalid", "a" * 70 + ".example", "nul\0l"):
        with pytest.raises(UnknownHost):
            Requestor((host, 104), pairs=PAIRS, seconds=1, **more)


def test_a_context_in_another_transfer_syntax_than_offered_is_not_used(peers: list[Peer]) -> None:
    def otherwise(request: bytes) -> bytes:
        asked = negotiation.read_request(request)
        first, second = negotiation.negotiated(asked)
        implicit = negotiation.Context(first.context_id, 0, first.abstract_syntax, ImplicitVRLittleEndian)
        return negotiation.acceptance(asked, [implicit, second])

    peers.append(Peer(otherwise))
    association = called(peers[0])
    assert association.accepted == frozenset(PAIRS[1:])
    association.abort()


def test_only_what_is_taken_may_be_sent(peers: list[Peer]) -> None:
    def without_mr(request: bytes) -> bytes:
        asked = negotiation.read_request(request)
        contexts = negotiation.negotiated(asked)
        refused = negotiation.Context(contexts[1].context_id, 3, contexts[1].abstract_syntax, "")
        return negotiation.acceptance(asked, [contexts[0], refused])

    peers.append(Peer(without_mr))
    association = called(peers[0])
    assert association.accepted == frozenset(PAIRS[:1])
    association.abort()
