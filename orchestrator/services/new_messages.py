"""The usual case of `services.messages`, in three statements: what a known sender sends for the first time.

An acknowledgement waits for this, and Django spends more time on making a row, writing its statements and handing them
to the database's driver than a database on executing them: statements are made once, and the driver is spoken to past
Django's cursor. Whatever is not usual is left to `services.messages`, with nothing done.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.models import Field
from django.utils import timezone

from orchestrator.models import HL7Application, InboundMessage, Site
from orchestrator.services.messages import Sender


class NewMessage(NamedTuple):
    """What a new message may differ in from all others, named as its columns."""

    control_id: str
    message_type: str
    raw: bytes
    charset: str
    digest: str
    sent_at: datetime | None
    address: str | None
    received_at: datetime
    ack: bytes


# Beside those: what its interface and its place make it, and that it was taken.
_PLACED = ("interface_id", "site_id", "sequence")
_TAKEN = {"ack_code": "AA"}
# As they were read last; `_last_sequence` looks whether they are so still.
_interfaces: dict[tuple[str, str], HL7Application] = {}


def interface_of(sender: Sender) -> HL7Application | None:
    """The interface of a sender as it was read last, perhaps a while ago; None when there is none."""
    names = sender[:2]
    if names not in _interfaces:
        asked = HL7Application.objects.select_related("site")
        found = asked.filter(sending_application=sender.application, sending_facility=sender.facility).first()
        if found is None:
            return None
        _interfaces[names] = found
    return _interfaces[names]


class _NotUsual(Exception):
    """A message came before, or an interface is no longer what it was."""


def keep_new(messages: Sequence[tuple[HL7Application, NewMessage]]) -> bool:
    """Keep messages in state RECEIVED, with their places in the order of their interfaces (`interface_of`).

    False when nothing was kept: one of them came before, or an interface is switched off or changed.
    """
    try:
        with transaction.atomic(), _driver_cursor() as cursor:
            places = _places(cursor, [interface for interface, _ in messages])
            _look_for_repetitions(cursor, messages)
            rows = [
                (*_prepared(message), interface.pk, interface.site_id, next(places[interface.pk]))
                for interface, message in messages
            ]
            cursor.executemany(_insert_statement(connection.vendor), rows)
    except _NotUsual:
        return False
    return True


class _Cursor(Protocol):
    """What both drivers have (DB-API, PEP 249)."""

    def execute(self, statement: str, values: Sequence[Any], /) -> object: ...
    def executemany(self, statement: str, rows: Sequence[Sequence[Any]], /) -> object: ...
    def fetchone(self) -> Any: ...
    def close(self) -> object: ...


@contextmanager
def _driver_cursor() -> Iterator[_Cursor]:
    """Of the connection that a transaction is open on; what its driver raises comes as Django's."""
    database = connections[DEFAULT_DB_ALIAS]
    with database.wrap_database_errors, closing(database.connection.cursor()) as cursor:
        yield cursor


def _places(cursor: _Cursor, interfaces: Sequence[HL7Application]) -> dict[int, Iterator[int]]:
    """The next places of each interface. Each is locked until the commit, and so they are in the order of commits."""
    numbers: dict[int, int] = {}
    for each in interfaces:
        numbers[each.pk] = numbers.get(each.pk, 0) + 1
    by_key = {each.pk: each for each in interfaces}
    # Read at different times: it was renamed in between, and only one of them would be looked at.
    if any(by_key[each.pk] is not each for each in interfaces):
        _interfaces.clear()
        raise _NotUsual
    # Always locked in the same order.
    last = {pk: _last_sequence(cursor, by_key[pk], numbers[pk]) for pk in sorted(numbers)}
    return {pk: iter(range(last[pk] - numbers[pk] + 1, last[pk] + 1)) for pk in numbers}


def _last_sequence(cursor: _Cursor, interface: HL7Application, number: int) -> int:
    """Move an interface's counter on. What the messages were read by must still be so."""
    cursor.execute(
        _place_statement(connection.vendor),
        [
            number, connection.ops.adapt_datetimefield_value(timezone.now()),
            interface.pk, interface.sending_application, interface.sending_facility,
            interface.default_charset, interface.site_id, interface.site.time_zone,
        ],
    )  # fmt: skip
    row = cursor.fetchone()
    if row is None:
        _interfaces.clear()
        raise _NotUsual
    return int(row[0])


def _look_for_repetitions(cursor: _Cursor, messages: Sequence[tuple[HL7Application, NewMessage]]) -> None:
    """Raises _NotUsual when any of them is known, or stands here twice (by sender, control id and bytes)."""
    keys = {(each.control_id, interface.pk, each.digest) for interface, each in messages}
    if len(keys) < len(messages):
        raise _NotUsual
    cursor.execute(_repetition_statement(connection.vendor, len(keys)), [value for key in keys for value in key])
    if cursor.fetchone() is not None:
        raise _NotUsual


def _prepared(message: NewMessage) -> tuple[Any, ...]:
    """The values as the database's driver takes them, in their order."""
    ops = connection.ops
    return (
        message.control_id, message.message_type, message.raw, message.charset, message.digest,
        ops.adapt_datetimefield_value(message.sent_at), ops.adapt_ipaddressfield_value(message.address),
        ops.adapt_datetimefield_value(message.received_at), message.ack,
    )  # fmt: skip


@lru_cache(maxsize=4)
def _place_statement(vendor: str) -> str:
    return _marked(
        f"UPDATE {_table(HL7Application)} SET last_sequence = last_sequence + %s, last_message_at = %s"  # noqa: S608  our names
        " WHERE id = %s AND sending_application = %s AND sending_facility = %s AND enabled"
        f" AND default_charset = %s AND site_id = (SELECT id FROM {_table(Site)} WHERE id = %s AND time_zone = %s)"
        " RETURNING last_sequence",
        vendor,
    )


@lru_cache(maxsize=512)
def _repetition_statement(vendor: str, number: int) -> str:
    places = ",".join(["(%s,%s,%s)"] * number)
    return _marked(
        # SQLite looks up each only when it is made to begin with them (CROSS JOIN); an IN would read all.
        f"SELECT 1 FROM (VALUES {places}) AS new CROSS JOIN {_table(InboundMessage)} AS known"  # noqa: S608  our names
        " WHERE known.control_id = new.column1 AND known.interface_id = new.column2"
        " AND known.digest = new.column3 LIMIT 1",
        vendor,
    )


@lru_cache(maxsize=4)
def _insert_statement(vendor: str) -> str:
    """For the fields of a NewMessage and _PLACED; the other columns are what no new message has."""
    given = (*NewMessage._fields, *_PLACED)
    same = {each.attname: _literal(_same_for_all(each)) for each in _left_to_defaults()}
    names = ",".join(map(connection.ops.quote_name, (*given, *same)))
    values = ",".join([*["%s"] * len(given), *same.values()])
    return _marked(f"INSERT INTO {_table(InboundMessage)} ({names}) VALUES ({values})", vendor)  # noqa: S608  our names


def _marked(statement: str, vendor: str) -> str:
    """The places of values marked as a driver wants it; no statement of ours has the mark in its words."""
    return statement.replace("%s", "?") if vendor == "sqlite" else statement


def _left_to_defaults() -> "list[Field[Any, Any]]":
    """The columns that neither a message nor the database fills."""
    given = (*NewMessage._fields, *_PLACED)
    fields = InboundMessage._meta.local_concrete_fields
    return [each for each in fields if not (each.primary_key or each.has_db_default() or each.attname in given)]


def _same_for_all(field: "Field[Any, Any]") -> object:
    """What Django would fill a column with. TypeError when that may differ from message to message."""
    if field.attname in _TAKEN:
        return _TAKEN[field.attname]
    if field.has_default() and callable(field.default):
        raise TypeError(f"{field.attname} is made anew for each message")
    return field.get_db_prep_save(field.get_default(), connections[DEFAULT_DB_ALIAS])


def _literal(value: object) -> str:
    """Nothing, a truth, a number or a word of ours as SQL. TypeError for what would have to be quoted or adapted."""
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value).upper()
    if isinstance(value, str) and not set(value) & set("'%\\"):
        return f"'{value}'"
    raise TypeError(f"{value!r} is no literal")


def _table(model: type[HL7Application | InboundMessage | Site]) -> str:
    return connection.ops.quote_name(model._meta.db_table)
