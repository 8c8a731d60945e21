"""Deliveries that are interrupted: workers that die, decisions undone, people who stop and resume, late instances."""

from pathlib import Path

import pytest

from orchestrator import storage
from orchestrator.models import ExceptionCase, IdentityClaim
from orchestrator.states import CaseStatus, DeliveryStatus, IllegalTransition
from routing.models import DeliveredInstance, Delivery, Destination
from routing.services import notes, turns
from routing.services.deliver import cancel, retry, ring_due, set_paused
from routing.services.route import route_study, send_study, withdraw_claim
from routing.services.turns import due
from tests.factories import make_order, make_user
from tests.peers import storescp, wait_for
from tests.routing.ward import (
    case,
    deliver,
    destination,
    hold,
    image,
    is_due_again,
    match,
    matched_study,
    peer,
    queued,
    receive,
    state,
)

pytestmark = [
    pytest.mark.django_db,
    # pynetdicom leaves a socket that found nobody to the garbage collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"),
]


# --- workers that die, and those that are told to stop ---------------------------------------------------


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


def test_what_a_killed_worker_began_is_finished_by_another_without_sending_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notes, "_SECONDS", 0)
    study = matched_study(instances=4)
    with peer() as archive:
        delivery = queued(study, destination(archive.port))
        path_of = storage.path_of

        def dies_at_the_third(key: str) -> Path:
            if len(archive.got) == 2:
                raise Killed
            return path_of(key)

        monkeypatch.setattr(storage, "path_of", dies_at_the_third)
        with pytest.raises(Killed):
            deliver(delivery.pk)
        monkeypatch.setattr(storage, "path_of", path_of)
        assert state(delivery) == ("SENDING", ["QUEUED", "QUEUED", "SENT", "SENT"])
        deliver(delivery.pk)
        assert len(archive.got) == 2, "while the lease lasts nobody else takes it"
        is_due_again(delivery)
        assert [each.pk for each in due()] == [delivery.pk]
        deliver(delivery.pk)
        assert state(delivery) == ("SENT", ["SENT"] * 4)
    assert sorted(ds.SOPInstanceUID for ds in archive.got) == sorted(
        study.instances.values_list("sop_instance_uid", flat=True)
    )


def test_the_sweep_rings_for_what_is_due_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    archive, paused = destination(), destination(name="Paused")
    set_paused(paused, paused=True, reason="moves")
    rung: list[str] = []
    monkeypatch.setattr(turns, "ring", rung.append)
    study = matched_study()
    queued(study, archive)
    queued(study, paused)
    ring_due()
    assert rung == ["routing.tasks.deliver"]


def test_a_canceled_delivery_stops_at_its_next_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "_SECONDS", 0)
    study = matched_study(instances=3)
    with peer() as archive:
        delivery = queued(study, destination(archive.port))
        path_of = storage.path_of

        def canceled_at_the_second(key: str) -> Path:
            if len(archive.got) == 1:
                cancel(Delivery.objects.get(pk=delivery.pk), reason="wrong place")
            return path_of(key)

        monkeypatch.setattr(storage, "path_of", canceled_at_the_second)
        deliver(delivery.pk)
    assert state(delivery) == ("CANCELED", ["QUEUED", "SENT", "SENT"])
    assert len(archive.got) == 2
    assert not ExceptionCase.objects.exists()


def test_an_undo_while_it_is_sent_stops_it_and_asks_about_what_has_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "_SECONDS", 0)
    study = matched_study(instances=3)
    claim = study.claims.get()
    with peer() as archive:
        delivery = queued(study, destination(archive.port))
        path_of = storage.path_of

        def undone_while_the_first_is_on_its_way(key: str) -> Path:
            if not archive.got:
                hold(claim)
                withdraw_claim(claim.pk)
                assert not ExceptionCase.objects.exists()
            return path_of(key)

        monkeypatch.setattr(storage, "path_of", undone_while_the_first_is_on_its_way)
        deliver(delivery.pk)
    assert len(archive.got) == 1
    assert state(delivery) == ("CANCELED", ["CANCELED", "CANCELED", "SENT"])
    assert case("already_delivered").subject_id == delivery.pk


def test_what_is_undone_before_it_is_sent_never_leaves() -> None:
    study = matched_study()
    with peer() as archive:
        delivery = queued(study, destination(archive.port))
        hold(study.claims.get())
        deliver(delivery.pk)
        assert archive.associations == 0
    assert state(delivery) == ("CANCELED", ["CANCELED"])


def test_an_undone_claim_stays_while_its_neighbour_in_the_same_delivery_leaves() -> None:
    order = make_order()
    study = receive(image(order), calling="CT_NORTH")
    receive(image(order), calling="CT_SOUTH")
    match(study, order)
    with peer() as archive:
        delivery = queued(study, destination(archive.port))
        assert state(delivery) == ("QUEUED", ["QUEUED", "QUEUED"])
        hold(study.claims.get(calling_ae_title="CT_SOUTH"))
        deliver(delivery.pk)
        assert state(delivery) == ("SENT", ["CANCELED", "SENT"])
    [arrived] = archive.got
    kept = study.instances.get(calling_ae_title="CT_NORTH")
    assert arrived.SOPInstanceUID == kept.sop_instance_uid


def test_what_is_corrected_otherwise_meanwhile_leaves_in_its_present_rendition() -> None:
    study = matched_study(AccessionNumber="WRONG")
    with peer() as archive:
        old = queued(study, destination(archive.port))
        match(study, make_order())
        deliver(old.pk)
        assert state(old)[0] == "CANCELED"
        new = Delivery.objects.exclude(pk=old.pk).get()
        assert (new.rule, new.version, new.destination) == (old.rule, old.version, old.destination)
        assert state(new)[0] == "SENT"
    assert len(archive.got) == 1
    order = IdentityClaim.objects.get(study=study).order
    assert order is not None
    assert archive.got[0].AccessionNumber == order.accession_number


def test_what_arrives_while_a_delivery_is_sent_goes_with_its_next_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    order = make_order()
    study = receive(image(order))
    match(study, order)
    with peer() as archive:
        delivery = queued(study, destination(archive.port))
        path_of = storage.path_of

        def another_comes(key: str) -> Path:
            monkeypatch.setattr(storage, "path_of", path_of)
            receive(image(order, number=2))
            route_study(study.pk)
            return path_of(key)

        monkeypatch.setattr(storage, "path_of", another_comes)
        deliver(delivery.pk)
        assert state(delivery) == ("SENT", ["SENT", "SENT"])
    assert archive.associations == 1, "the second attempt has found the association of the first"


# --- people, custody, peers ------------------------------------------------------------------------------


def test_a_paused_destination_waits_until_it_is_resumed() -> None:
    with peer() as archive:
        there = destination(archive.port)
        delivery = queued(matched_study(), there)
        set_paused(there, paused=True, reason="moves")
        deliver(delivery.pk)
        assert state(delivery) == ("QUEUED", ["QUEUED"])
        set_paused(there, paused=False, reason="moved")
        deliver(delivery.pk)
        assert state(delivery) == ("SENT", ["SENT"])


def test_a_person_tries_again_now_what_waits() -> None:
    delivery = queued(matched_study(), destination())
    deliver(delivery.pk)
    assert not due().exists()
    retry(delivery, reason="The peer is back")
    assert (state(delivery)[0], delivery.attempts, due().get()) == ("RETRYING", 0, delivery)


@pytest.mark.parametrize("status", [DeliveryStatus.SENDING, DeliveryStatus.SENT])
def test_what_is_being_sent_or_is_sent_is_not_tried_again(status: DeliveryStatus) -> None:
    delivery = queued(matched_study(), destination())
    Delivery.objects.update(status=status)
    with pytest.raises(IllegalTransition):
        retry(delivery, reason="impatient")


def test_a_failed_delivery_that_is_canceled_settles_its_case() -> None:
    with peer(only="SOMEBODY") as archive:
        delivery = queued(matched_study(), destination(archive.port))
        deliver(delivery.pk)
    cancel(delivery, reason="wrong archive")
    assert delivery.status == "CANCELED"
    assert case("delivery_failed").status == CaseStatus.RESOLVED
    with pytest.raises(IllegalTransition):
        cancel(delivery, reason="again")


def test_deliveries_that_wait_for_one_peer_share_an_association() -> None:
    studies = [matched_study(instances=2) for _ in range(5)]
    with peer() as archive:
        there = destination(archive.port)
        made = [send_study(study=each, destinations=[there], user=make_user(), reason="r") for each in studies]
        deliver(made[0][0].pk)
        assert set(Delivery.objects.values_list("status", flat=True)) == {"SENT"}
    assert (len(archive.got), archive.associations) == (10, 1)
    assert DeliveredInstance.objects.filter(status="SENT").count() == 10


def test_a_peer_that_has_gone_is_not_asked_for_every_delivery_that_waits() -> None:
    there = destination()
    made = [queued(matched_study(), there) for _ in range(3)]
    deliver(made[0].pk)
    assert [state(each)[0] for each in made] == ["RETRYING", "QUEUED", "QUEUED"]


@pytest.mark.peer("dcmtk")
def test_storescp_that_is_killed_and_comes_back_has_everything_in_the_end(tmp_path: Path) -> None:
    study = matched_study(instances=3)
    with storescp(tmp_path / "archive", options=["--abort-after"]) as archive:
        delivery = queued(study, destination(archive.port, ae_title=archive.ae_title))
        deliver(delivery.pk)
    assert state(delivery)[0] in ("UNKNOWN", "RETRYING")
    assert "SENT" not in state(delivery)[1]
    with storescp(tmp_path / "archive2") as archive:
        Destination.objects.update(port=archive.port)
        is_due_again(delivery)
        deliver(delivery.pk)
        assert state(delivery) == ("SENT", ["SENT"] * 3)
        wait_for(lambda: len(archive.files()) == 3, what="three files")
