"""The usual message is kept in few statements, past Django's cursor, and just as the others are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection, models
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from orchestrator.hl7 import intake
from orchestrator.hl7.messages import Message, read
from orchestrator.hl7.mllp import Frame
from orchestrator.models import HL7Application, InboundMessage, Site
from orchestrator.services import new_messages
from orchestrator.states import InboundStatus
from tests.factories import make_site
from tests.orchestrator.hl7.speech import adt, field, last, orm, take
from tests.peers import LOOPBACK

pytestmark = pytest.mark.django_db


def _columns(row: InboundMessage) -> dict[str, Any]:
    """All that does not differ from message to message."""
    own = ("id", "next_attempt_at", "sequence", "received_at", "digest", "raw", "ack", "control_id")
    return {each.attname: getattr(row, each.attname) for each in row._meta.concrete_fields if each.name not in own}


def test_a_known_senders_message_asks_django_for_no_statement_and_is_kept_like_the_first_one() -> None:
    take(orm(control_id="1", at="20260705080000+0200", charset="UNICODE UTF-8"))
    first = last()
    take(orm(control_id="2"))
    with CaptureQueriesContext(connection) as asked:
        take(orm(control_id="3", at="20260705080000+0200", charset="UNICODE UTF-8"))
    assert [each["sql"] for each in asked if "SAVEPOINT" not in each["sql"]] == []
    row = last()
    assert _columns(row) == _columns(first)
    assert row.sequence == 3
    assert (field(bytes(row.ack).decode(), "MSA", 2), row.control_id) == ("3", "3")
    assert HL7Application.objects.get().last_sequence == 3


@contextmanager
def _told_to_sqlite() -> Iterator[list[str]]:
    """The statements that reach the database."""
    told: list[str] = []
    connection.connection.set_trace_callback(told.append)
    yield told
    connection.connection.set_trace_callback(None)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite tells what it executes")
def test_known_senders_messages_cost_three_statements() -> None:
    take(orm(control_id="1"))
    take(orm(control_id="2"))
    with _told_to_sqlite() as told:
        take(orm(control_id="3"))
    verbs = [each.split()[0] for each in told]
    assert verbs == ["SAVEPOINT", "UPDATE", "SELECT", "INSERT", "RELEASE"]


def test_messages_of_several_senders_in_one_batch_get_the_next_places_of_each() -> None:
    take(orm(control_id="1"), adt(control_id="1", application="HIS"))
    take(orm(control_id="2"), adt(control_id="2", application="HIS"), orm(control_id="3"))
    places = InboundMessage.objects.order_by("pk").values_list("interface__sending_application", "sequence")
    assert list(places) == [("RIS", 1), ("HIS", 1), ("RIS", 2), ("HIS", 2), ("RIS", 3)]


def test_whoever_is_switched_off_is_refused_at_once() -> None:
    take(orm(control_id="1"))
    take(orm(control_id="2"))
    HL7Application.objects.update(enabled=False)
    assert field(take(orm(control_id="3"))[0], "MSA", 1) == "AR"
    assert last().sequence is None
    HL7Application.objects.update(enabled=True)
    assert field(take(orm(control_id="4"))[0], "MSA", 1) == "AA"
    assert last().sequence == 3


def test_the_old_name_of_a_renamed_interface_is_not_taken_beside_the_new_one(settings: Settings) -> None:
    take(orm(control_id="1"))
    take(orm(control_id="2"))
    HL7Application.objects.update(sending_application="RIS2")
    settings.TRUST = "known"
    answers = take(orm(control_id="3"), orm(control_id="4", application="RIS2"))
    assert [field(each, "MSA", 1) for each in answers] == ["AR", "AA"]
    assert last().sequence == 3


def test_the_time_zone_and_the_character_set_of_now_count() -> None:
    take(orm(control_id="1"))
    take(orm(control_id="2"))
    Site.objects.update(time_zone="America/New_York")
    take(orm(control_id="3", at="20260705080000"))
    sent = last().sent_at
    assert sent is not None
    assert sent.hour == 12
    HL7Application.objects.update(default_charset="ASCII")
    assert field(take(orm(control_id="4").replace("Jane", "Jäne"))[0], "MSA", 1) == "AE"


def test_what_came_before_is_a_repetition_also_in_the_same_breath() -> None:
    take(orm(control_id="1"))
    answers = take(orm(control_id="2"), orm(control_id="2"), orm(control_id="3"))
    assert take(orm(control_id="3")) == [answers[2]]
    statuses = list(InboundMessage.objects.order_by("control_id", "pk").values_list("control_id", "status"))
    received, repeated = InboundStatus.RECEIVED, InboundStatus.DUPLICATE
    assert statuses == [("1", received), ("2", received), ("2", repeated), ("3", received), ("3", repeated)]


def test_one_that_is_refused_keeps_none_from_its_place() -> None:
    take(orm(control_id="1"))
    take(orm(control_id="2"), "no message at all", orm(control_id="3"))
    assert list(InboundMessage.objects.filter(sequence__isnull=False).values_list("sequence", flat=True)) == [1, 2, 3]


def test_a_message_is_read_once_also_when_another_one_of_its_batch_is_not_usual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take(orm(control_id="1"))
    first = take(orm(control_id="2"))
    readings: list[bytes] = []

    def noted(raw: bytes, **said: Any) -> Message:
        readings.append(raw)
        return read(raw, **said)

    monkeypatch.setattr(intake, "read", noted)
    answers = take(orm(control_id="3"), orm(control_id="2"), orm("ZZ", control_id="4"))
    assert [field(each, "MSA", 1) for each in answers] == ["AA", "AA", "AE"]
    assert answers[1] == first[0]
    assert len(readings) == 3


_keep_new = new_messages.keep_new


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("has_committed", [False, True])
def test_a_database_that_goes_away_once_keeps_each_message_once(
    monkeypatch: pytest.MonkeyPatch, has_committed: bool
) -> None:
    make_site()
    take(orm(control_id="1"))
    attempts: list[bool] = []

    def going_away(usual: Any) -> bool:
        attempts.append(has_committed and _keep_new(usual))
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(new_messages, "keep_new", going_away)
    answers = take(orm(control_id="2"), orm(control_id="3"))
    assert attempts == [has_committed]
    assert [field(each, "MSA", 1) for each in answers] == ["AA", "AA"]
    kept = InboundMessage.objects.filter(status=InboundStatus.RECEIVED, control_id__in="23").order_by("sequence")
    assert [bytes(each.ack).decode() for each in kept] == answers
    repeated = InboundMessage.objects.filter(status=InboundStatus.DUPLICATE).order_by("control_id")
    assert [bytes(each.ack).decode() for each in repeated] == (answers if has_committed else [])


@pytest.mark.django_db(transaction=True)
def test_a_database_that_stays_away_keeps_no_message_answers_none_and_rings_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_site()
    take(orm(control_id="1"))
    rung: list[int] = []

    def away(given: Any) -> None:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(new_messages, "keep_new", away)
    monkeypatch.setattr(intake, "_store", away)
    with pytest.raises(OperationalError):
        intake.store([Frame(orm(control_id="2").encode(), LOOPBACK)], ring=rung.extend)
    assert rung == []
    assert last().control_id == "1"


@pytest.mark.skipif(connection.vendor != "sqlite", reason="asks SQLite how it looks messages up")
def test_repetitions_of_a_batch_are_looked_up_and_not_searched_for_among_all_messages() -> None:
    take(orm(control_id="1"))
    with _told_to_sqlite() as told:
        take(orm(control_id="2"), orm(control_id="3"))
    (looked_up,) = (each for each in told if each.startswith("SELECT 1"))
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {looked_up}")
        plan = [row[3] for row in cursor.fetchall()]
    columns = "control_id=? AND interface_id=? AND digest=?"
    assert f"SEARCH known USING COVERING INDEX message_control_id ({columns})" in plan


def test_every_column_is_filled_by_a_message_its_place_or_a_default_which_is_the_same_for_all() -> None:
    names = {each.attname for each in InboundMessage._meta.local_concrete_fields}
    given = {*new_messages.NewMessage._fields, *new_messages._PLACED}
    same = {each.attname: new_messages._same_for_all(each) for each in new_messages._left_to_defaults()}
    assert given | same.keys() | {"id", "next_attempt_at"} == names
    row = InboundMessage(ack_code="AA")
    assert same == {name: getattr(row, name) for name in same}
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {','.join(map(new_messages._literal, same.values()))}")
        assert cursor.fetchone() == tuple(same.values())


@pytest.mark.parametrize("value", ["it's", "100 %", "a\\b", b"", uuid4(), timezone.now(), {}, 1.5])
def test_what_would_have_to_be_quoted_or_adapted_is_no_literal(value: object) -> None:
    with pytest.raises(TypeError):
        new_messages._literal(value)


@pytest.mark.parametrize("default", [uuid4, timezone.now, dict])
def test_a_default_that_differs_from_message_to_message_is_no_part_of_the_statement(default: Callable[[], Any]) -> None:
    field = models.TextField(default=default)
    field.set_attributes_from_name("novelty")
    with pytest.raises(TypeError, match="novelty is made anew"):
        new_messages._same_for_all(field)
