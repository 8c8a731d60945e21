"""Other values leave for a study that is out already: everybody who has the old ones gets the new ones."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from orchestrator.models import Correction, Device, Hop, Study, WorkflowEvent
from orchestrator.states import CaseStatus, Purpose
from routing.datasets import ORIGINAL
from routing.models import Delivery, Destination
from routing.services.route import route_corrected, route_study, send_study, withdraw_claim
from tests.factories import make_order, make_user
from tests.peers import orthanc
from tests.routing.ward import (
    case,
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


def correct(study: Study, **values: str) -> None:
    """The current patient or order says this now, as after an A08."""
    claim = study.claims.get()
    claim.corrections.all().delete()
    for keyword, value in values.items():
        Correction.objects.create(claim=claim, attribute=keyword, old="x", new=value, why="for a test")
    route_corrected(claim.pk)


def serve_all() -> None:
    for delivery in Delivery.objects.order_by("pk"):
        deliver(delivery.pk)


def accessions(got: list[Dataset]) -> list[str]:
    return [ds.AccessionNumber for ds in got]


def test_it_goes_where_the_old_one_went_also_where_the_rules_of_today_would_not_send_it() -> None:
    study = matched_study()
    with peer() as archive:
        by_rule, by_person = destination(archive.port), destination(archive.port, name="Reader")
        deliver(queued(study, by_rule).pk)
        send_study(study=study, destinations=[by_person], user=make_user(), reason="Asked for")
        serve_all()
        publish(send_rule(destination(name="Elsewhere"), name="new rules"))
        correct(study, AccessionNumber="NEW")
        serve_all()
    assert sorted(accessions(archive.got)) == sorted([study.claims.get().accession_number] * 2 + ["NEW"] * 2)
    made = Delivery.objects.exclude(rendition=ORIGINAL).order_by("pk")
    assert [(each.destination, each.rule) for each in made] == [(by_rule, "all"), (by_person, "")]


def test_what_waits_with_the_old_values_never_leaves() -> None:
    study = matched_study()
    with peer() as archive:
        old = queued(study, destination(archive.port))
        correct(study, AccessionNumber="NEW")
        assert state(old) == ("CANCELED", ["CANCELED"])
        serve_all()
    assert accessions(archive.got) == ["NEW"]


def test_who_got_nothing_because_a_person_canceled_it_gets_nothing_now() -> None:
    study = matched_study()
    old = queued(study, destination())
    Delivery.objects.update(status="CANCELED")
    correct(study, AccessionNumber="NEW")
    assert list(Delivery.objects.all()) == [old]


def test_the_first_values_again_are_sent_again() -> None:
    study = matched_study()
    received = study.claims.get().accession_number
    with peer() as archive:
        deliver(queued(study, destination(archive.port)).pk)
        for values in ({"AccessionNumber": "NEW"}, {}, {"AccessionNumber": "NEW"}):
            correct(study, **values)
            serve_all()
            serve_all()
    assert accessions(archive.got) == [received, "NEW", received, "NEW"]


def test_a_match_without_corrections_after_an_undo_replaces_what_went_corrected() -> None:
    order = make_order()
    study = receive(image(order))
    match(study, make_order(patient=order.patient))
    with peer() as archive:
        deliver(queued(study, destination(archive.port)).pk)
        claim = study.claims.get()
        hold(claim)
        withdraw_claim(claim.pk)
        publish(send_rule(destination(name="Elsewhere"), name="new rules"))
        match(study, order)
        route_study(study.pk)
        serve_all()
    assert accessions(archive.got)[1:] == [order.accession_number]


def test_a_person_is_asked_to_look_since_the_peer_may_have_kept_the_first_copy() -> None:
    study = matched_study()
    with peer() as archive:
        deliver(queued(study, destination(archive.port)).pk)
        correct(study, AccessionNumber="NEW")
        serve_all()
        found = case("already_delivered")
        assert (found.reason_code, found.subject_id) == ("CORRECTED_AFTER_DELIVERY", Delivery.objects.latest("pk").pk)
        route_study(study.pk)
        found.refresh_from_db()
        assert found.status == CaseStatus.OPEN
        assert not Delivery.objects.filter(status="VERIFIED").exists()


@pytest.mark.peer("orthanc")
def test_orthanc_as_installed_keeps_the_first_copy_and_we_do_not_claim_otherwise(tmp_path: Path) -> None:
    study = matched_study()
    with orthanc(tmp_path / "orthanc") as archive:
        there = destination(archive.dicom_port, ae_title=archive.ae_title, required_for_custody=True)
        deliver(queued(study, there).pk)
        correct(study, AccessionNumber="NEW")
        serve_all()
        [found] = archive.rest("/tools/find", {"Level": "Study", "Query": {}, "Expand": True})
    assert found["MainDicomTags"]["AccessionNumber"] != "NEW"
    assert Delivery.objects.latest("pk").status == "SENT"
    assert case("already_delivered").status == CaseStatus.OPEN
    assert Study.objects.get(pk=study.pk).custody == "RECEIVED"


# --- devices -------------------------------------------------------------------------------------------


def test_a_destination_that_sends_a_study_back_is_known_to_have_it_from_us() -> None:
    """A to us to B to us: nobody has configured B but as a destination."""
    order = make_order()
    study = receive(image(order))
    match(study, order)
    with peer() as archive:
        deliver(queued(study, destination(archive.port, ae_title="PACS_B")).pk)
    receive(image(order, number=2), calling="PACS_B")
    route_study(study.pk)
    assert list(study.claims.order_by("pk").values_list("purpose", flat=True)) == [Purpose.ACQUIRED, Purpose.RETURNED]
    assert [each.instances.count() for each in Delivery.objects.all()] == [1]


def test_what_came_from_a_destination_goes_round_to_the_others_and_not_back() -> None:
    """A to us to B to us to A."""
    order = make_order()
    with peer() as archive:
        a = destination(archive.port, name="A", ae_title="PACS_A")
        b = destination(archive.port, name="B", ae_title="PACS_B")
        assert a.device != b.device
        publish(send_rule(a, b))
        study = receive(image(order), calling="PACS_A")
        match(study, order)
        route_study(study.pk)
        serve_all()
        receive(image(order), image(order, number=2), calling="PACS_B")
        match(study, order)
        route_study(study.pk)
        serve_all()
    assert [(each.destination.name, each.instances.count()) for each in Delivery.objects.all()] == [("B", 1)]
    assert len(archive.got) == 1
    assert [hop.device for hop in Hop.objects.all()] == [b.device]
    event = WorkflowEvent.objects.get(name="study.not_returned", study_id=study.pk)
    assert event.detail == {"destination": "A", "rule": "all"}


def test_a_destination_stands_on_the_device_that_calls_by_its_title() -> None:
    known = destination(name="PACS", ae_title="PACS")
    same = destination(known.port, name="PACS, second name", ae_title="PACS")
    other = destination(name="PACS of others", ae_title="PACS")
    assert same.device == known.device
    assert other.device != known.device
    assert Device.objects.filter(application_entities__ae_title="PACS").get() == known.device
    assert Destination.objects.count() == 3
