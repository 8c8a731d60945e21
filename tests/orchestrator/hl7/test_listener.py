"""The MLLP listener over real sockets: framing, batches, limits, TLS. What is stored is looked at by other tests."""

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from django.db import InternalError, OperationalError, connection

from orchestrator.hl7.mllp import Frame, Listener
from orchestrator.models import ExceptionCase, InboundMessage
from orchestrator.states import InboundStatus
from tests.factories import make_site
from tests.orchestrator.hl7.speech import Sender, adt, field, framed, last, listening, orm
from tests.peers import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _site() -> None:
    make_site()


def test_many_messages_on_one_connection_are_answered_in_order() -> None:
    with listening() as port, Sender(port) as sender:
        for number in range(20):
            answer = sender.say(adt(control_id=f"C{number}"))
            assert (field(answer, "MSA", 1), field(answer, "MSA", 2)) == ("AA", f"C{number}")
            assert (field(answer, "MSH", 2), field(answer, "MSH", 4)) == ("FIDUCIAL", "RIS")
    assert list(InboundMessage.objects.order_by("sequence").values_list("control_id", flat=True)) == [
        f"C{number}" for number in range(20)
    ]


def test_several_frames_in_one_read_share_a_commit_and_are_answered_in_order() -> None:
    batches: list[int] = []
    with listening(batches=batches) as port, Sender(port) as sender:
        sender.write(b"".join(framed(adt(control_id=f"C{number}")) for number in range(30)))
        answers = [sender.answer() for _ in range(30)]
    assert [field(answer, "MSA", 2) for answer in answers] == [f"C{number}" for number in range(30)]
    assert sum(batches) == 30
    assert len(batches) < 10


def test_a_message_that_comes_byte_by_byte_is_one_message() -> None:
    raw = framed(orm())
    with listening() as port, Sender(port) as sender:
        for index in range(len(raw)):
            sender.write(raw[index : index + 1])
        assert field(sender.answer(), "MSA", 1) == "AA"
    assert bytes(last().raw) == raw[1:-2]


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_segments_may_end_with_cr_lf_or_both(end: str) -> None:
    with listening() as port, Sender(port) as sender:
        assert field(sender.say(orm().replace("\r", end)), "MSA", 1) == "AA"


def test_connections_do_not_wait_for_each_other() -> None:
    with listening() as port, Sender(port) as half, Sender(port) as silent, Sender(port) as whole:
        half.write(framed(adt(control_id="HALF"))[:-20])
        assert silent.socket.fileno() > 0
        assert field(whole.say(adt(control_id="WHOLE")), "MSA", 2) == "WHOLE"
        half.write(framed(adt(control_id="HALF"))[-20:])
        assert field(half.answer(), "MSA", 2) == "HALF"


def test_many_connections_at_once_are_all_answered() -> None:
    with listening() as port:
        senders = [Sender(port) for _ in range(100)]
        for number, sender in enumerate(senders):
            sender.write(framed(adt(control_id=f"C{number}")))
        for number, sender in enumerate(senders):
            assert field(sender.answer(), "MSA", 2) == f"C{number}"
            sender.socket.close()
    assert InboundMessage.objects.filter(status=InboundStatus.RECEIVED).count() == 100


def test_bytes_around_frames_are_dropped() -> None:
    with listening() as port, Sender(port) as sender:
        sender.write(b"GET / HTTP/1.1\r\n\r\n" + framed(adt()) + b"\r\n")
        assert field(sender.answer(), "MSA", 1) == "AA"
        assert field(sender.say(adt(control_id="2")), "MSA", 1) == "AA"


def test_a_message_of_50_mb_is_refused_by_its_control_id_and_the_connection_goes_on() -> None:
    with listening() as port, Sender(port) as sender, Sender(port) as other:
        sender.write(b"\x0b" + orm(control_id="BIG").encode() + b"OBX|1|TX|")
        for _ in range(50):
            sender.write(b"A" * 1024 * 1024)
        assert field(other.say(adt(control_id="OTHER")), "MSA", 1) == "AA"
        sender.write(b"\x1c\r")
        answer = sender.answer()
        assert (field(answer, "MSA", 1), field(answer, "MSA", 2)) == ("AR", "BIG")
        assert "larger" in field(answer, "ERR", 8)
        assert field(sender.say(adt(control_id="NEXT")), "MSA", 1) == "AA"
    refused = InboundMessage.objects.get(control_id="BIG")
    assert refused.status == InboundStatus.REJECTED
    assert len(bytes(refused.raw)) == 65536
    assert ExceptionCase.objects.get().message == refused


def test_a_message_without_end_is_refused_once_and_then_the_connection_is_closed() -> None:
    with listening(maximum=10_000) as port, Sender(port) as sender:
        sender.write(b"\x0b" + adt(control_id="ENDLESS").encode() + b"A" * 20_000)
        assert field(sender.answer(), "MSA", 1) == "AR"
        with pytest.raises(ConnectionError):
            sender.write(b"A" * 256 * 1024 * 1024)
    assert InboundMessage.objects.count() == 1


def test_a_silent_connection_is_closed_and_half_a_message_is_not_stored(caplog: pytest.LogCaptureFixture) -> None:
    with listening(idle_seconds=1.0) as port, Sender(port) as sender:
        sender.write(framed(adt())[:-1])
        assert sender.closed()
        wait_for(lambda: "ended inside a message" in caplog.text, what="the line in the log")
    assert not InboundMessage.objects.exists()
    assert "Doe" not in caplog.text


def test_a_listener_that_stops_answers_what_it_has_read_and_lets_go_of_the_rest() -> None:
    with listening() as port:
        silent, sender = Sender(port), Sender(port)
        sender.write(b"".join(framed(adt(control_id=f"C{number}")) for number in range(5)))
        wait_for(InboundMessage.objects.exists, what="the first to be stored")
    assert [field(sender.answer(), "MSA", 1) for _ in range(5)] == ["AA"] * 5
    assert sender.closed()
    assert silent.closed()
    for each in (silent, sender):
        each.socket.close()


def test_a_sender_that_says_no_more_is_still_answered() -> None:
    with listening() as port, Sender(port) as sender:
        sender.write(b"".join(framed(adt(control_id=f"C{number}")) for number in range(3)))
        sender.socket.shutdown(socket.SHUT_WR)
        assert [field(sender.answer(), "MSA", 2) for _ in range(3)] == ["C0", "C1", "C2"]
        assert sender.closed()


class Slow:
    """A store that waits until it may go on, and answers each message with itself."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.taken: list[bytes] = []

    def __call__(self, frames: Sequence[Frame]) -> list[bytes]:
        assert self.may_go_on.wait(30)
        self.taken += [each.raw for each in frames]
        return [each.raw for each in frames]


def test_a_sender_that_does_not_wait_for_answers_is_read_no_further_until_it_has_some() -> None:
    store, raw = Slow(), framed(b"A" * 100_000)
    with listening(store=store) as port, Sender(port) as sender:
        stream = memoryview(raw * 1000)
        sent = 0
        sender.socket.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while sent < len(stream):
                sent += sender.socket.send(stream[sent:])
        assert sent < len(stream)
        store.may_go_on.set()
        sender.socket.settimeout(20)
        number = -(-sent // len(raw))
        sender.write(bytes(stream[sent : number * len(raw)]))
        assert {sender.answer() for _ in range(number)} == {"A" * 100_000}
    assert len(store.taken) == number


@pytest.fixture
def came(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Listener, bytes]]:
    """What listeners were given to store, as it came."""
    noted: list[tuple[Listener, bytes]] = []
    take = Listener.take

    def noting(listener: Listener, connection: Any, frames: Sequence[Frame]) -> None:
        take(listener, connection, frames)
        noted.extend((listener, each.raw) for each in frames)

    monkeypatch.setattr(Listener, "take", noting)
    return noted


def test_a_sender_of_very_many_small_messages_holds_up_no_other(came: list[tuple[Listener, bytes]]) -> None:
    store = Slow()
    with listening(store=store) as port, Sender(port) as many, Sender(port) as other:
        many.write(framed("X") * 5000)
        wait_for(lambda: came, what="the first of many")
        other.write(framed("OTHER"))
        wait_for(lambda: came[-1][1] == b"OTHER", what="the one of the other")
        store.may_go_on.set()
        assert other.answer() == "OTHER"
        assert store.taken.index(b"OTHER") < 1500
        assert {many.answer() for _ in range(5000)} == {"X"}


def test_a_sender_of_very_many_small_messages_that_says_no_more_has_all_answers() -> None:
    store = Slow()
    with listening(store=store) as port, Sender(port) as many:
        many.write(framed("X") * 5000)
        many.socket.shutdown(socket.SHUT_WR)
        store.may_go_on.set()
        assert {many.answer() for _ in range(5000)} == {"X"}
        assert many.closed()


def test_a_listener_that_stops_stores_all_that_it_has_read(came: list[tuple[Listener, bytes]]) -> None:
    def store(frames: Sequence[Frame]) -> list[bytes]:
        wait_for(lambda: came[0][0]._is_stopping, what="the stop")
        return [each.raw for each in frames]

    with listening(store=store) as port:
        many = Sender(port)
        many.write(framed("X") * 5000)
        wait_for(lambda: came, what="the first of many")
    with many:
        assert {many.answer() for _ in range(5000)} == {"X"}
        assert many.closed()


def test_a_failed_connection_whose_peer_takes_nothing_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[Any] = []
    said, taken = list[bytes](), list[bytes]()
    joined = Listener.joined

    def noting(listener: Listener, connection: Any) -> None:
        connections.append(connection)
        connection._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        joined(listener, connection)

    def store(frames: Sequence[Frame]) -> list[bytes]:
        if frames[0].raw == b"FAIL":
            raise OperationalError
        taken.extend(each.raw for each in frames)
        return [b"A" * 10_000] * len(frames)

    monkeypatch.setattr(Listener, "joined", noting)
    with listening(store=store, idle_seconds=1.0) as port, Sender(port) as sender:
        # Some answers wait for it, and not so many that it is read no further.
        untaken = 0
        while untaken < 3:
            said.append(b"TAKE")
            sender.write(framed(said[-1]))
            wait_for(lambda: taken == said and not connections[0]._unanswered, what="the answer")
            untaken += connections[0]._transport.get_write_buffer_size() > 0
        assert not connections[0]._is_full
        sender.write(framed("FAIL"))
        wait_for(lambda: not connections[0]._listener._connections, what="the end of the connection")


def test_what_comes_behind_a_message_that_could_not_be_stored_is_not_stored_before_it(
    came: list[tuple[Listener, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    taken, begun = list[bytes](), threading.Event()

    def store(frames: Sequence[Frame]) -> list[bytes]:
        if frames[0].raw == b"FIRST":
            begun.set()
            wait_for(lambda: len(came) > 1, what="the second")
            raise OperationalError
        taken.extend(each.raw for each in frames)
        return [b"MSA"] * len(frames)

    with listening(store=store) as port, Sender(port) as sender, Sender(port) as other:
        sender.write(framed("FIRST"))
        assert begun.wait(30)
        sender.write(framed("SECOND"))
        assert sender.closed()
        assert other.say("OTHER") == "MSA"
    assert taken == [b"OTHER"]
    assert "1 messages behind one that could not be stored were dropped" in caplog.text
    assert "SECOND" not in caplog.text


def test_what_was_read_but_not_handed_on_before_a_failure_is_dropped_and_told(caplog: pytest.LogCaptureFixture) -> None:
    def store(frames: Sequence[Frame]) -> list[bytes]:
        raise OperationalError

    with listening(store=store) as port, Sender(port) as many:
        many.write(framed("X") * 5000)
        assert many.closed()
    told = [each.args[0] for each in caplog.records if "messages" in each.msg and isinstance(each.args, tuple)]
    assert sum(number for number in told if isinstance(number, int)) == 5000


def test_after_a_failed_commit_the_next_one_has_a_new_connection() -> None:
    were_open: list[bool] = []

    def store(frames: Sequence[Frame]) -> list[bytes]:
        were_open.append(connection.connection is not None)
        connection.ensure_connection()
        if len(were_open) == 2:
            raise InternalError("cannot execute UPDATE in a read-only transaction")
        return [b"MSA"] * len(frames)

    with listening(store=store) as port, Sender(port) as sender, Sender(port) as other:
        assert sender.say("1") == "MSA"
        sender.write(framed("2"))
        assert sender.closed()
        assert other.say("3") == "MSA"
    assert were_open == [False, True, False]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate of localhost, and its key."""
    path, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    return path, key


@pytest.mark.peer("openssl")
def test_a_message_over_tls_is_taken_and_plain_bytes_are_not(certificate: tuple[Path, Path]) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*certificate)
    client = ssl.create_default_context(cafile=str(certificate[0]))
    with listening(tls=server) as port:
        with Sender(port, tls=client) as sender:
            assert field(sender.say(adt()), "MSA", 1) == "AA"
        with Sender(port) as plain:
            plain.write(framed(adt(control_id="PLAIN")))
            assert plain.closed()
    assert InboundMessage.objects.get().control_id == "1"


@pytest.mark.peer("openssl")
def test_a_listener_lets_go_of_senders_over_tls_without_an_error(
    certificate: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*certificate)
    client = ssl.create_default_context(cafile=str(certificate[0]))
    with listening(tls=server) as port:
        sender = Sender(port, tls=client)
        assert field(sender.say(adt(control_id="1")), "MSA", 1) == "AA"
        assert isinstance(sender.socket, ssl.SSLSocket)
        end = sender.socket.unwrap
        # It answers the end of the connection with its own.
        reader = threading.Thread(target=lambda: sender.closed() and end())
        reader.start()
    reader.join(20)
    sender.socket.close()
    assert not [each for each in caplog.records if each.levelname == "ERROR"]
