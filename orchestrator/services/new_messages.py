"""The usual case of `services.messages`, in three statements: what a known sender sends for the first time.

An acknowledgement waits for this, and Django spends more time on writing its statements anew for each message than a
database on executing them. Whatever is not usual is left to `services.messages`, with nothing done.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.utils import timezone

from orchestrator.models import HL7Application, InboundMessage, Site
from orchestrator.services.messages import Sender

# What a new message may differ in from all others.
_FILLED = (
    "interface", "site", "sequence", "control_id", "message_type", "raw", "charset", "digest", "sent_at", "address",
    "received_at", "status", "ack", "ack_code",
)  # fmt: skip
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


def keep_new(messages: Sequence[InboundMessage]) -> bool:
    """Keep messages in state RECEIVED, with their places in the order of their interfaces (`interface_of`).

    False when nothing was kept: one of them came before, or an interface is switched off or changed.
    """
    try:
        with transaction.atomic():
            _give_places(messages)
            _look_for_repetitions(messages)
            _insert(messages)
    except _NotUsual:
        return False
    return True


def _give_places(messages: Sequence[InboundMessage]) -> None:
    """The update locks each interface until the commit: the places are given in the order of the commits."""
    following: dict[int, Iterator[int]] = {}
    numbers = Counter(each.interface for each in messages)
    # Always locked in the same order.
    for interface, number in sorted(numbers.items(), key=lambda each: each[0].pk if each[0] else 0):
        if interface is None:
            raise _NotUsual
        last = _last_sequence(interface, number)
        following[interface.pk] = iter(range(last - number + 1, last + 1))
    for each in messages:
        each.sequence = next(following[each.interface_id or 0])


def _last_sequence(interface: HL7Application, number: int) -> int:
    """Move an interface's counter on. What the messages were read by must still be so."""
    table, sites = _table(HL7Application), _table(Site)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET last_sequence = last_sequence + %s, last_message_at = %s"  # noqa: S608  our names
            " WHERE id = %s AND sending_application = %s AND sending_facility = %s AND enabled"
            f" AND default_charset = %s AND site_id = (SELECT id FROM {sites} WHERE id = %s AND time_zone = %s)"
            " RETURNING last_sequence",
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


def _look_for_repetitions(messages: Sequence[InboundMessage]) -> None:
    """Raises _NotUsual when any of them is known, or stands here twice (by sender, control id and bytes)."""
    keys = {(each.control_id, each.interface_id, each.digest) for each in messages}
    if len(keys) < len(messages):
        raise _NotUsual
    places = ",".join(["(%s,%s,%s)"] * len(keys))
    with connection.cursor() as cursor:
        cursor.execute(
            # SQLite looks up each only when it is made to begin with them (CROSS JOIN); an IN would read all.
            f"SELECT 1 FROM (VALUES {places}) AS new CROSS JOIN {_table(InboundMessage)} AS known"  # noqa: S608
            " WHERE known.control_id = new.column1 AND known.interface_id = new.column2"
            " AND known.digest = new.column3 LIMIT 1",
            [value for key in keys for value in key],
        )
        if cursor.fetchone() is not None:
            raise _NotUsual


def _insert(messages: Sequence[InboundMessage]) -> None:
    database = connections[DEFAULT_DB_ALIAS]
    columns = [
        each for each in InboundMessage._meta.local_concrete_fields if not (each.primary_key or each.has_db_default())
    ]
    fields = [each for each in columns if each.name in _FILLED]
    others = [each for each in columns if each.name not in _FILLED]
    # What no new message has.
    empty = InboundMessage()
    same = [each.get_db_prep_save(getattr(empty, each.attname), database) for each in others]
    rows = [
        [*(each.get_db_prep_save(getattr(row, each.attname), database) for each in fields), *same] for row in messages
    ]
    names = ",".join(database.ops.quote_name(each.attname) for each in [*fields, *others])
    places = ",".join(["%s"] * len(columns))
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {_table(InboundMessage)} ({names}) VALUES ({places})",  # noqa: S608  our names
            rows,
        )


def _table(model: type[HL7Application | InboundMessage | Site]) -> str:
    return connection.ops.quote_name(model._meta.db_table)
