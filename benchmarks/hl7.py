"""HL7 messages acknowledged, at 1 and 32 connections, beside a bare insert and commit; parsing beside hl7apy."""

import contextlib
import hashlib
import selectors
import socket
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import count, islice
from pathlib import Path

from django.utils import timezone
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from benchmarks.objects import TODAY
from benchmarks.ours import DATABASE, DURABLE, Installation, broker
from benchmarks.rounds import OURS, Contender, Plan, Row, compare

_numbers = count(1)


class NotAccepted(Exception):
    """A message was not answered by AA."""


def order(number: str) -> bytes:
    """An ORM^O01 of a CT with all its numbers made of one, framed for MLLP."""
    code = "CTHEAD^CT head^L"
    return (
        "\x0b"
        rf"MSH|^~\&|BENCH|NORTH|FIDUCIAL|FIDUCIAL|{TODAY}080000||ORM^O01^ORM_O01|{number}|P|2.5.1" "\r"
        f"PID|1||{number}^^^BENCH^MR||Bench^Mark^^^^^L||19700101|O\r"
        f"ORC|NW|P{number}|F{number}||||^^^{TODAY}103000^^R|||||||||||CT_BENCH^^L\r"
        f"OBR|1|P{number}|F{number}|{code}^{code}||||||||||||||A{number}|R{number}|S{number}||||CT\r"
        "\x1c\r"
    ).encode()  # fmt: skip


def run(plan: Plan, ours: Installation, folder: Path) -> Iterator[Row]:
    _keep_earlier(plan.kept)
    with broker(), ours.running("listen_hl7", ours.hl7_port):
        for connections in (1, 32):
            plural = "s" * (connections > 1)
            settings = f"the listener and the broker; committed before AA ({DURABLE}), {plan.kept:,} kept before"
            contenders = [
                Contender(OURS, settings, partial(_send, ours.hl7_port, plan, connections)),
                Contender("bare insert", f"one commit each, no listener ({DURABLE})", partial(_insert, plan, folder)),
                Contender(
                    "bare insert, our table",
                    f"the same with its columns and indexes, {plan.kept:,} kept before",
                    partial(_insert_ours, plan, ours.data_dir),
                ),
            ]
            yield from compare(
                f"HL7 acknowledged, {connections} connection{plural}",
                metric="throughput", unit="messages/s", contenders=contenders, rounds=plan.rounds,
            )  # fmt: skip

    yield from compare(
        "HL7 parse and map", metric="throughput", unit="messages/s", rounds=plan.rounds,
        contenders=[
            Contender(OURS, "lazy reader, patient, visit and order mapped", partial(_map, plan.parsed)),
            Contender("hl7apy", "parse_message, TOLERANT, nothing mapped", partial(_parse, max(2, plan.parsed // 50))),
        ],
    )  # fmt: skip


def _keep_earlier(number: int) -> None:
    """Messages that came before and are done: what is looked up among them is not looked up in an empty table."""
    from orchestrator.models import InboundMessage, Site  # Django is set up by `run`
    from orchestrator.states import InboundStatus

    site, now = Site.objects.earliest("pk"), timezone.now()
    rows = (
        InboundMessage(
            site=site, control_id=f"E{each}", message_type="ORM^O01", raw=raw, digest=hashlib.sha256(raw).hexdigest(),
            received_at=now, status=InboundStatus.APPLIED, ack_code="AA",
        )
        for each in range(number)
        for raw in [order(f"E{each}")]
    )  # fmt: skip
    InboundMessage.objects.bulk_create(rows, batch_size=1000)


def _map(number: int) -> float:
    from orchestrator.hl7 import mapping  # Django is set up by `run`
    from orchestrator.hl7.messages import read

    messages = [order(f"B{each}")[1:-2] for each in range(number)]
    started = time.perf_counter()
    for raw in messages:
        message = read(raw)
        mapping.to_patient(message)
        mapping.to_visit(message)
        for parts in mapping.orders_of(message):
            mapping.to_order(message, parts)
    return number / (time.perf_counter() - started)


def _parse(number: int) -> float:
    messages = [order(f"B{each}")[1:-2].decode() for each in range(number)]
    started = time.perf_counter()
    for text in messages:
        parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT)
    return number / (time.perf_counter() - started)


def _send(port: int, plan: Plan, connections: int) -> float:
    """Each connection has one message on its way; one thread serves them all."""
    waiting = iter([order(f"B{number}") for number in islice(_numbers, plan.messages)])
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(connections)]
        started = time.perf_counter()
        for each in sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(each, selectors.EVENT_READ)
            each.sendall(next(waiting))
        answered = 0
        while answered < plan.messages:
            for key, _ in selector.select(timeout=60):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)  # noqa: S101  as registered; for the type checker
                if b"MSA|AA|" not in connection.recv(65536):
                    raise NotAccepted("a message was refused, or its answer came in pieces")
                answered += 1
                if following := next(waiting, None):
                    connection.sendall(following)
        return plan.messages / (time.perf_counter() - started)


def _insert(plan: Plan, folder: Path) -> float:
    """What durability alone costs here: the same bytes, one transaction each, in our database's settings."""
    messages = [order(f"B{number}") for number in islice(_numbers, plan.messages)]
    with _durable(folder / "bare.sqlite3") as database:
        database.execute("CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY, raw BLOB, digest TEXT, at REAL)")
        started = time.perf_counter()
        for raw in messages:
            row = (raw, hashlib.sha256(raw).hexdigest(), time.time())
            database.execute("INSERT INTO message (raw, digest, at) VALUES (?, ?, ?)", row)
        return plan.messages / (time.perf_counter() - started)


def _insert_ours(plan: Plan, data_dir: Path) -> float:
    """The same into the table that we keep messages in: what its width and its indexes cost whoever fills it."""
    from orchestrator.models import InboundMessage  # Django is set up by `run`

    messages = [(f"T{number}", order(f"T{number}")) for number in islice(_numbers, plan.messages)]
    table, own = InboundMessage._meta.db_table, ("control_id", "raw", "digest", "received_at")
    same = [each.attname for each in InboundMessage._meta.local_concrete_fields if each.attname not in (*own, "id")]
    with _durable(data_dir / DATABASE) as database:
        # One of those kept before: they have no interface, whose numbers must differ.
        (first,) = database.execute(f"SELECT min(id) FROM {table} WHERE interface_id IS NULL").fetchone()  # noqa: S608  our names
        started = time.perf_counter()
        for control_id, raw in messages:
            database.execute(
                f"INSERT INTO {table} ({','.join((*own, *same))})"  # noqa: S608  our names
                f" SELECT ?, ?, ?, ?, {','.join(same)} FROM {table} WHERE id = ?",
                (control_id, raw, hashlib.sha256(raw).hexdigest(), f"{datetime.now(UTC):%F %T.%f}", first),
            )
        return plan.messages / (time.perf_counter() - started)


@contextlib.contextmanager
def _durable(path: Path) -> Iterator[sqlite3.Connection]:
    """A database in the settings of ours."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("PRAGMA wal_autocheckpoint=4000")
        yield database
