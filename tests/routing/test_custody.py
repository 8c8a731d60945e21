"""Custody follows from what became of each instance at the required destinations, forwards and backwards."""

import pytest

from orchestrator.models import Correction, Device, Study
from orchestrator.services import studies
from orchestrator.states import Custody, Identity, Purpose
from routing.models import Delivery, Destination
from routing.services.deliver import cancel
from routing.services.route import route_corrected, route_study, withdraw_claim
from tests.factories import make_ae, make_claim, make_order
from tests.routing.ward import (
    deliver,
    destination,
    hold,
    image,
    match,
    matched_study,
    peer,
    publish,
    queued,
    receive,
    send_rule,
    state,
)

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"),
]


def custody(study: Study) -> str:
    return Study.objects.get(pk=study.pk).custody


def test_it_moves_on_when_every_required_destination_has_everything() -> None:
    study = matched_study(instances=2)
    with peer() as archive:
        required = [destination(archive.port, name=name, required_for_custody=True) for name in ("one", "two")]
        publish(send_rule(*required, destination(name="dead")))
        route_study(study.pk)
        first, second = Delivery.objects.filter(destination__in=required).order_by("pk")
        Destination.objects.filter(name="two").update(paused=True)
        deliver(first.pk)
        assert (state(first)[0], custody(study)) == ("SENT", Custody.RECEIVED)
        Destination.objects.filter(name="two").update(paused=False)
        deliver(second.pk)
        assert custody(study) == Custody.DELIVERED


def test_a_destination_that_is_not_required_does_not_count() -> None:
    study = matched_study()
    with peer() as archive:
        deliver(queued(study, destination(archive.port)).pk)
    assert custody(study) == Custody.RECEIVED


def test_it_does_not_move_while_a_part_of_the_study_is_held() -> None:
    study = matched_study()
    make_claim(study, identity=Identity.HELD)
    with peer() as archive:
        deliver(queued(study, destination(archive.port, required_for_custody=True)).pk)
    assert custody(study) == Custody.RECEIVED


def test_late_instances_bring_it_back_until_they_are_there_too() -> None:
    order = make_order()
    study = receive(image(order))
    match(study, order)
    with peer() as archive:
        delivery = queued(study, destination(archive.port, required_for_custody=True))
        deliver(delivery.pk)
        assert custody(study) == Custody.DELIVERED
        receive(image(order, number=2))
        assert custody(study) == Custody.RECEIVED
        route_study(study.pk)
        deliver(delivery.pk)
        assert custody(study) == Custody.DELIVERED


def test_what_comes_back_from_the_archive_does_not_undo_it_for_good() -> None:
    order = make_order()
    study = receive(image(order))
    match(study, order)
    make_ae("PACS", kind=Device.Kind.ARCHIVE)
    with peer() as archive:
        deliver(queued(study, destination(archive.port, ae_title="PACS", required_for_custody=True)).pk)
    receive(image(order, number=2), calling="PACS")
    assert study.instances.filter(purpose=Purpose.RETURNED).exists()
    route_study(study.pk)
    assert custody(study) == Custody.DELIVERED


def test_it_does_not_move_while_more_is_arriving_and_moves_when_that_is_over() -> None:
    study = matched_study()
    with peer() as archive:
        delivery = queued(study, destination(archive.port, required_for_custody=True))
        Study.objects.filter(pk=study.pk).update(custody=Custody.RECEIVING)
        deliver(delivery.pk)
    assert custody(study) == Custody.RECEIVING
    studies.close(study.pk)
    route_study(study.pk)
    assert custody(study) == Custody.DELIVERED


def test_a_correction_after_delivery_counts_only_once_it_was_read_back() -> None:
    study = matched_study(AccessionNumber="WRONG")
    with peer() as archive:
        there = destination(archive.port, required_for_custody=True)
        deliver(queued(study, there).pk)
        assert custody(study) == Custody.DELIVERED
        match(study, make_order())
        route_corrected(study.claims.get().pk)
        assert custody(study) == Custody.RECEIVED
        second = Delivery.objects.latest("pk")
        deliver(second.pk)
        assert state(second) == ("SENT", ["SENT"])
    assert custody(study) == Custody.RECEIVED, "the archive may have kept the first copy"
    second.instances.update(status="VERIFIED")
    route_study(study.pk)
    assert custody(study) == Custody.DELIVERED


def test_an_undone_decision_brings_it_back() -> None:
    study = matched_study()
    with peer() as archive:
        deliver(queued(study, destination(archive.port, required_for_custody=True)).pk)
    claim = study.claims.get()
    hold(claim)
    withdraw_claim(claim.pk)
    assert custody(study) == Custody.RECEIVED


def test_a_delivery_that_a_person_cancels_is_no_longer_waited_for() -> None:
    study = matched_study()
    with peer() as archive:
        required = [destination(archive.port, name=name, required_for_custody=True) for name in ("one", "two")]
        publish(send_rule(*required))
        route_study(study.pk)
        first, second = Delivery.objects.order_by("pk")
        deliver(first.pk)
        assert custody(study) == Custody.RECEIVED
        cancel(second, reason="not there")
    assert custody(study) == Custody.DELIVERED
    assert not Correction.objects.exists()
