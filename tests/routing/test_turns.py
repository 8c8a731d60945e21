"""Whose turn it is: urgent first, everybody in turn, and peers that do not answer cost the others nothing."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from django.db import connection, transaction
from django.utils import timezone

from orchestrator.models import Study
from orchestrator.states import CaseStatus, DeliveryStatus
from routing.models import Delivery, Destination, Line
from routing.services import deliver as delivering
from routing.services import destinations, turns
from routing.services.deliver import retry, serve, serve_next, set_paused
from routing.services.route import deliver_to
from routing.transports import cstore
from routing.transports.echo import Heard
from tests.peers import LOOPBACK, wait_for
from tests.routing.ward import case, destination, is_due_again, matched_study, peer, state

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"),
]


def waits(to: Destination, priority: str = "normal", *, study: Study | None = None) -> Delivery:
    """A delivery that waits, by a person."""
    study = study or matched_study()
    with transaction.atomic():
        made = deliver_to(study, study.claims.get(), to, priority=priority)
    assert made is not None
    return made


def silence(*lines: Destination, times: int = 1) -> None:
    """They did not answer so often, and may be tried again now."""
    for each in lines:
        Line.objects.filter(destination=each).update(attempts=times, next_attempt_at=timezone.now())


# --- in which order ---------------------------------------------------------------------------------------


def test_urgent_deliveries_to_a_peer_overtake_normal_ones_and_these_offpeak_ones() -> None:
    with peer() as archive:
        there = destination(archive.port)
        made = {each: waits(there, each) for each in ("offpeak", "normal", "urgent")}
        serve(there)
    uids = [made[each].study.study_instance_uid for each in ("urgent", "normal", "offpeak")]
    assert [ds.StudyInstanceUID for ds in archive.got] == uids


def test_a_worker_goes_first_where_something_urgent_waits() -> None:
    one, two = destination(name="one"), destination(name="two")
    waits(one)
    waits(two, "urgent")
    assert turns.next_turn() == two


def test_a_peer_with_much_work_does_not_keep_the_workers_from_the_others() -> None:
    busy, quiet = destination(name="busy"), destination(name="quiet")
    for _ in range(3):
        waits(busy)
    waits(quiet)
    assert [turns.next_turn() for _ in range(4)] == [busy, quiet, busy, quiet]


def test_two_workers_that_ask_at_once_do_not_go_to_the_same_peer() -> None:
    one, two = destination(name="one"), destination(name="two")
    waits(one)
    waits(two)
    first, _ = turns.open_lines()
    assert turns._take(first)
    assert not turns._take(first), "somebody was faster"


def test_a_paused_destination_has_no_turn() -> None:
    there = destination()
    waits(there)
    set_paused(there, paused=True, reason="moves")
    assert turns.next_turn() is None
    set_paused(there, paused=False, reason="moved")
    assert turns.next_turn() == there


def test_a_long_delivery_gives_way_after_its_turn_and_goes_on_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivering, "TURN_SECONDS", 0)
    with peer() as archive:
        long, other = destination(archive.port, name="long"), destination(archive.port, name="other")
        first, second = waits(long, study=matched_study(instances=3)), waits(other)
        serve_next()
        assert state(first) == ("PARTIAL", ["QUEUED", "QUEUED", "SENT"])
        serve_next()
        assert state(second)[0] == "SENT"
        serve_next()
    assert state(first) == ("SENT", ["SENT"] * 3)
    assert len(archive.got) == 4, "nothing is sent twice"


def test_something_urgent_for_the_same_peer_interrupts_a_long_delivery() -> None:
    there = destination()
    long, quick = waits(there), waits(there, "offpeak")
    assert not turns.should_give_way(long)
    urgent = waits(there, "urgent")
    assert turns.should_give_way(long)
    assert turns.should_give_way(quick)
    assert not turns.should_give_way(urgent)


# --- peers that do not answer ---------------------------------------------------------------------------


def test_a_peer_that_does_not_answer_is_left_alone_ever_longer() -> None:
    there = destination()
    deliveries = [waits(there) for _ in range(3)]
    lengths = []
    for n in range(1, 5):
        serve_next()
        line = Line.objects.get()
        assert line.attempts == n
        assert line.next_attempt_at is not None
        lengths.append((line.next_attempt_at - timezone.now()).total_seconds())
        assert turns.next_turn() is None, "all that waits for it waits with it"
        for each in deliveries:
            is_due_again(each)
    assert all(5 * 2**n * 0.5 - 1 < length <= 5 * 2**n for n, length in enumerate(lengths))
    assert sum(Delivery.objects.get(pk=each.pk).attempts for each in deliveries) == 4


def test_of_the_peers_that_do_not_answer_one_at_a_time_is_tried() -> None:
    dead = [destination(name=f"dead {n}") for n in range(3)]
    well = destination(name="well")
    for each in (*dead, well):
        waits(each)
    silence(*dead)
    assert turns.next_turn() == dead[0]
    assert turns.next_turn() == well
    assert turns.next_turn() == well
    turns.silent(dead[0], "The peer could not be reached.")
    Line.objects.filter(destination=well).delete()
    assert turns.next_turn() == dead[1]
    assert turns.next_turn() is None


def test_of_the_peers_that_do_not_answer_the_one_that_answered_last_is_tried_first() -> None:
    long, lately = destination(name="dead for long"), destination(name="dead since just now")
    for each in (long, lately):
        waits(each)
    silence(long, times=7)
    silence(lately)
    assert turns.next_turn() == lately


def test_a_worker_that_died_while_it_tried_a_silent_peer_blocks_the_others_for_seconds_only() -> None:
    dead = [destination(name=f"dead {n}") for n in range(2)]
    for each in dead:
        waits(each)
    silence(*dead)
    assert turns.next_turn() == dead[0]
    assert turns.next_turn() is None
    Line.objects.filter(lease_until__isnull=False).update(lease_until=timezone.now())
    assert turns.next_turn() == dead[1]


def test_after_some_failures_a_person_is_told_once_until_it_answers() -> None:
    there = destination()
    delivery = waits(there)
    for _ in range(8):
        is_due_again(delivery)
        serve_next()
    found = case("destination_silent")
    assert (found.subject_id, found.status) == (there.pk, CaseStatus.OPEN)
    assert "could not be reached" in found.summary
    with peer() as running:
        destinations.change(destination=there, port=running.port)
        retry(delivery, reason="It is back")
        serve_next()
    assert state(delivery)[0] == "SENT"
    found.refresh_from_db()
    assert found.status == CaseStatus.RESOLVED
    assert Line.objects.get().attempts == 0


@pytest.mark.parametrize("how", ["retry", "echo", "address", "resume"])
def test_who_knows_that_it_answers_need_not_wait_for_its_time(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with peer() as running:
        there = destination(running.port)
        delivery = waits(there)
        turns.silent(there, "The peer could not be reached.")
        assert turns.next_turn() is None
        if how == "retry":
            retry(delivery, reason="It is back")
        elif how == "echo":
            monkeypatch.setattr(destinations, "ask", lambda **_peer: Heard(True, 3))
            destinations.echo(destination=there)
        elif how == "address":
            destinations.change(destination=there, host="localhost")
        else:
            set_paused(there, paused=True, reason="stop")
            set_paused(there, paused=False, reason="go")
        assert turns.next_turn() == there


def test_a_peer_without_room_is_not_given_everything_else_that_waits() -> None:
    with peer() as archive:
        archive.answer = lambda _event: 0xA700
        there = destination(archive.port)
        made = [waits(there) for _ in range(3)]
        serve(there)
    assert sorted(state(each)[0] for each in made) == ["QUEUED", "QUEUED", "RETRYING"]
    assert len(archive.got) == 1
    assert Line.objects.get().last_error == "status A700"


@pytest.fixture
def mute() -> Iterator[list[int]]:
    """Ports where connections are taken and nothing is ever said."""
    with ExitStack() as stack:
        listening = [stack.enter_context(closing(socket.create_server((LOOPBACK, 0), backlog=64))) for _ in range(10)]
        yield [each.getsockname()[1] for each in listening]


@pytest.mark.django_db(transaction=True)
def test_ten_mute_peers_do_not_keep_two_workers_from_the_one_that_answers(
    mute: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cstore, "ASSOCIATION_SECONDS", 1.0)
    dead = [destination(port, name=f"dead {n}") for n, port in enumerate(mute)]
    for each in dead:
        for _ in range(3):
            waits(each)
    silence(*dead)
    stop, tried = threading.Event(), []
    silent = turns.silent

    def noted(there: Destination, error: str) -> None:
        tried.append(there)
        silent(there, error)

    monkeypatch.setattr(turns, "silent", noted)

    def work() -> None:
        try:
            while not stop.wait(0.02):
                serve_next()
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for thread in workers:
        thread.start()
    try:
        wait_for(lambda: tried, what="the first mute peer")
        with peer() as archive:
            before = len(tried)
            made = waits(destination(archive.port, name="well"))
            wait_for(lambda: Delivery.objects.get(pk=made.pk).status == DeliveryStatus.SENT, what="the delivery")
            assert len(tried) - before <= 2, "while one worker waits for the mute, the other is there for the rest"
    finally:
        stop.set()
        for thread in workers:
            thread.join()
