"""Sending deliveries to real peers: what arrives, and what is tried again."""

import socket
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from django.utils import timezone
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt

from orchestrator import storage
from orchestrator.datasets import digest_of
from orchestrator.models import ExceptionCase, Hop, Instance
from orchestrator.services import leases
from orchestrator.states import CaseStatus
from routing.models import Delivery, DeliveryAttempt, Destination, Line
from routing.services import deliver as delivering
from routing.services.deliver import retry
from routing.transports import cstore
from tests.factories import make_order
from tests.peers import LOOPBACK, orthanc, storescp, wait_for
from tests.routing.ward import (
    case,
    deliver,
    destination,
    image,
    is_due_again,
    match,
    matched_study,
    peer,
    queued,
    receive,
    state,
)

pytestmark = pytest.mark.django_db


# --- what arrives ---------------------------------------------------------------------------------------


@pytest.mark.peer("dcmtk")
def test_an_uncorrected_study_arrives_with_the_bytes_it_came_with(tmp_path: Path) -> None:
    study = matched_study(instances=3)
    with storescp(tmp_path / "archive") as archive:
        delivery = queued(study, destination(archive.port, ae_title=archive.ae_title))
        deliver(delivery.pk)
        assert state(delivery) == ("SENT", ["SENT"] * 3)
        assert delivery.rendition == "original"
        arrived = {digest_of(path) for path in archive.files()}
    assert arrived == set(study.instances.values_list("digest", flat=True))
    [attempt] = DeliveryAttempt.objects.all()
    assert (attempt.sent, attempt.outcome, attempt.error) == (3, "SENT", "")
    assert Hop.objects.get().device == delivery.destination.device


@pytest.mark.peer("dcmtk")
def test_a_corrected_study_arrives_corrected_and_says_what_it_was(tmp_path: Path) -> None:
    study = matched_study(instances=2, PatientID="WRONG", PatientName="Roe^Jane")
    with storescp(tmp_path / "archive") as archive:
        delivery = queued(study, destination(archive.port, ae_title=archive.ae_title))
        deliver(delivery.pk)
        assert state(delivery) == ("SENT", ["SENT"] * 2)
        arrived = [dcmread(path) for path in archive.files()]
    patient = study.claims.get().matched_patient
    assert patient is not None
    for ds in arrived:
        assert ds.OriginalAttributesSequence[0].ReasonForTheAttributeModification == "COERCE", "no person said so"
        assert (ds.PatientName, ds.PatientID) == (patient.name, patient.identifiers.get().value)
        before = ds.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
        assert (before.PatientName, before.PatientID) == ("Roe^Jane", "WRONG")
        assert ds.StudyInstanceUID == study.study_instance_uid


@pytest.mark.peer("orthanc")
def test_orthanc_takes_a_corrected_study(tmp_path: Path) -> None:
    study = matched_study(instances=2, AccessionNumber="WRONG")
    with orthanc(tmp_path / "orthanc") as archive:
        delivery = queued(study, destination(archive.dicom_port, ae_title=archive.ae_title))
        deliver(delivery.pk)
        assert state(delivery) == ("SENT", ["SENT"] * 2)
        [found] = archive.rest("/tools/find", {"Level": "Study", "Query": {}, "Expand": True})
        order = study.claims.get().order
        assert order is not None
        assert found["MainDicomTags"]["AccessionNumber"] == order.accession_number
        assert len(archive.rest(f"/studies/{found['ID']}/instances")) == 2


def test_a_peer_that_takes_implicit_only_gets_a_conversion_of_what_is_uncompressed() -> None:
    study = matched_study(instances=2)
    with peer(syntaxes=[ImplicitVRLittleEndian]) as archive:
        delivery = queued(study, destination(archive.port))
        deliver(delivery.pk)
        assert state(delivery) == ("SENT", ["SENT"] * 2)
    assert archive.syntaxes == [ImplicitVRLittleEndian] * 2
    key = study.instances.get(sop_instance_uid=archive.got[0].SOPInstanceUID).spool_key
    original = dcmread(storage.path_of(key))
    assert archive.got[0].to_json_dict() == original.to_json_dict()


def test_what_came_implicit_leaves_as_it_came_and_explicit_only_to_who_wants_that() -> None:
    order = make_order()
    study = receive(image(order), syntax=ImplicitVRLittleEndian)
    match(study, order)
    for accepted in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        with peer(
            syntaxes=[ExplicitVRLittleEndian, ImplicitVRLittleEndian][: 1 if "2.1" in accepted else 2]
        ) as archive:
            delivery = queued(study, destination(archive.port, name=f"archive for {accepted}"))
            deliver(delivery.pk)
            assert state(delivery) == ("SENT", ["SENT"])
        assert archive.syntaxes == [accepted]


def test_compressed_pixels_are_never_decoded_and_the_refusal_says_so() -> None:
    order = make_order()
    study = receive(image(order))
    match(study, order)
    Instance.objects.update(transfer_syntax_uid="1.2.840.10008.1.2.4.90")
    with peer(sop_classes=[CTImageStorage, "1.2.840.10008.5.1.4.1.1.4"]) as archive:
        delivery = queued(study, destination(archive.port))
        deliver(delivery.pk)
    assert state(delivery) == ("FAILED", ["FAILED"])
    assert archive.got == []
    assert "SOP class" in delivery.last_error or "1.2.840.10008.1.2.4.90" in delivery.last_error
    assert case("delivery_failed").status == CaseStatus.OPEN


def test_a_sop_class_that_is_not_taken_fails_alone() -> None:
    order = make_order()
    study = receive(image(order), image(order, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11"))
    match(study, order)
    with peer() as archive:
        delivery = queued(study, destination(archive.port))
        deliver(delivery.pk)
    assert state(delivery) == ("FAILED", ["FAILED", "SENT"])
    assert delivery.last_error == "The peer does not take SOP class 1.2.840.10008.5.1.4.1.1.88.11."
    assert case("delivery_failed").summary.startswith("Archive has 1 of 2 objects")


def test_more_sop_classes_than_an_association_has_contexts_arrive_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cstore, "MOST_CONTEXTS", 4)
    classes = [f"1.2.840.10008.5.1.4.1.1.{n}" for n in (1, 2, 4, 7, 20)]
    order = make_order()
    study = receive(*[image(order, SOPClassUID=each) for each in classes])
    match(study, order)
    with peer(sop_classes=classes) as archive:
        delivery = queued(study, destination(archive.port))
        deliver(delivery.pk)
        assert state(delivery) == ("SENT", ["SENT"] * 5)
    assert archive.associations == 3


# --- what fails -----------------------------------------------------------------------------------------


def test_a_dead_port_is_tried_again_ever_later_and_in_the_end_shown_and_settled() -> None:
    archive = destination()
    delivery = queued(matched_study(), archive)
    waits = []
    for attempt in range(1, delivering.MOST_ATTEMPTS):
        deliver(delivery.pk)
        assert state(delivery) == ("RETRYING", ["QUEUED"])
        assert "could not be reached" in delivery.last_error
        assert (delivery.attempts, delivery.lease_until) == (attempt, None)
        assert delivery.next_attempt_at is not None
        waits.append((delivery.next_attempt_at - timezone.now()).total_seconds())
        deliver(delivery.pk)
        assert delivery.attempts == attempt, "before its time it is not tried"
        is_due_again(delivery)
    assert all(5 * 2**n * 0.5 - 1 < wait <= 5 * 2**n for n, wait in enumerate(waits))
    deliver(delivery.pk)
    assert state(delivery)[0] == "FAILED"
    assert case("delivery_failed").subject_id == delivery.pk
    assert DeliveryAttempt.objects.count() == delivering.MOST_ATTEMPTS
    with peer() as running:
        Destination.objects.update(port=running.port)
        retry(delivery, reason="It is back")
        deliver(delivery.pk)
        assert state(delivery) == ("SENT", ["SENT"])
    assert case("delivery_failed").status == CaseStatus.RESOLVED


@pytest.mark.parametrize(
    ("status", "delivery_status", "instance_status"),
    [
        (0x0000, "SENT", "SENT"), (0xB000, "SENT", "SENT"), (0xB006, "SENT", "SENT"), (0xB007, "SENT", "SENT"),
        (0xA700, "RETRYING", "RETRYING"), (0xA710, "RETRYING", "RETRYING"), (0xC000, "RETRYING", "RETRYING"),
        (0x0110, "RETRYING", "RETRYING"), (0x0213, "RETRYING", "RETRYING"), (0xA900, "FAILED", "FAILED"),
        (0x0122, "FAILED", "FAILED"), (0x0124, "FAILED", "FAILED"),
    ],
)  # fmt: skip
def test_a_status_is_what_the_standard_says_of_it(status: int, delivery_status: str, instance_status: str) -> None:
    with peer() as archive:
        archive.answer = lambda _event: status
        delivery = queued(matched_study(), destination(archive.port))
        deliver(delivery.pk)
    assert state(delivery) == (delivery_status, [instance_status])
    [row] = delivery.instances.all()
    assert row.dimse_status == status
    assert (f"{status:04X}" in row.error) is (status != 0)


def test_a_peer_without_room_gets_the_rest_later_and_nothing_twice() -> None:
    study = matched_study(instances=4)
    with peer() as archive:
        delivery = queued(study, destination(archive.port))
        archive.answer = lambda _event: 0xA700 if len(archive.got) >= 2 else 0x0000
        deliver(delivery.pk)
        assert state(delivery) == ("RETRYING", ["RETRYING", "RETRYING", "SENT", "SENT"])
        assert delivery.last_error == "status A700"
        archive.answer = lambda _event: 0x0000
        is_due_again(delivery)
        deliver(delivery.pk)
        assert state(delivery) == ("SENT", ["SENT"] * 4)
    uids = [ds.SOPInstanceUID for ds in archive.got]
    assert len(uids) == 6
    assert uids[:2] == [uid for uid in uids if uids.count(uid) == 1], "what was taken is not sent again"
    assert list(DeliveryAttempt.objects.order_by("pk").values_list("sent", "outcome")) == [(2, "RETRYING"), (2, "SENT")]


def test_a_peer_that_takes_some_each_time_is_not_given_up() -> None:
    study = matched_study(instances=3)
    with peer() as archive:
        delivery = queued(study, destination(archive.port))
        Delivery.objects.update(attempts=delivering.MOST_ATTEMPTS - 1)
        archive.answer = lambda _event: 0xA700 if len(archive.got) else 0x0000
        deliver(delivery.pk)
    assert state(delivery) == ("RETRYING", ["RETRYING", "RETRYING", "SENT"])
    assert delivery.attempts == 1


def test_an_instance_that_is_refused_for_good_does_not_hold_up_the_others() -> None:
    study = matched_study(instances=3)
    with peer() as archive:
        archive.answer = lambda event: 0xA900 if event.dataset.InstanceNumber == 2 else 0x0000
        delivery = queued(study, destination(archive.port))
        deliver(delivery.pk)
    assert state(delivery) == ("FAILED", ["FAILED", "SENT", "SENT"])
    assert delivery.instances.get(status="FAILED").instance.instance_number == "2"


def _aborts(event: evt.Event) -> int:
    event.assoc.abort()
    return 0x0000


def _never_answers(released: threading.Event) -> Any:
    def wait(_event: evt.Event) -> int:
        released.wait(20)
        return 0x0000

    return wait


@pytest.mark.parametrize("how", ["aborts", "never answers"])
def test_an_answer_that_never_comes_means_unknown_and_is_sent_again(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cstore, "RESPONSE_SECONDS", 0.5)
    released = threading.Event()
    study = matched_study(instances=2)
    with peer() as archive:
        archive.answer = _aborts if how == "aborts" else _never_answers(released)
        delivery = queued(study, destination(archive.port))
        deliver(delivery.pk)
        released.set()
        assert state(delivery) == ("UNKNOWN", ["RETRYING", "UNKNOWN"])
        assert delivery.last_error == "The peer gave no answer."
        assert not ExceptionCase.objects.exists()
        archive.answer = lambda _event: 0x0000
        is_due_again(delivery)
        deliver(delivery.pk)
        assert state(delivery) == ("SENT", ["SENT", "SENT"])


def test_a_listener_that_is_no_dicom_peer_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((LOOPBACK, 0)) as listening:

        def hang_up() -> None:
            accepted, _ = listening.accept()
            accepted.recv(100)
            accepted.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        delivery = queued(matched_study(), destination(listening.getsockname()[1]))
        deliver(delivery.pk)
        thread.join(10)
    assert state(delivery) == ("RETRYING", ["QUEUED"])


def test_a_peer_that_does_not_know_us_is_shown_at_once() -> None:
    with peer(only="SOMEBODY") as archive:
        delivery = queued(matched_study(), destination(archive.port))
        deliver(delivery.pk)
    assert state(delivery) == ("FAILED", ["QUEUED"])
    assert "rejected the association" in case("delivery_failed").summary


def test_a_host_that_nobody_knows_is_a_reason_and_not_a_crash() -> None:
    archive = destination()
    Destination.objects.update(host="no-such-host.invalid")
    delivery = queued(matched_study(), archive)
    deliver(delivery.pk)
    assert state(delivery)[0] == "RETRYING"
    assert delivery.last_error == "The host's name is not known."


def test_an_object_whose_file_is_gone_fails_alone() -> None:
    study = matched_study(instances=2)
    first = study.instances.earliest("pk")
    storage.path_of(first.spool_key).unlink()
    with peer() as archive:
        delivery = queued(study, destination(archive.port))
        deliver(delivery.pk)
    assert state(delivery) == ("FAILED", ["FAILED", "SENT"])
    assert "spool no longer has the file" in case("delivery_failed").summary


@pytest.mark.parametrize("damage", [b"", b"DICM", bytes(400)], ids=["empty", "cut off", "overwritten"])
def test_a_damaged_file_fails_alone_and_is_not_the_peers_fault(damage: bytes) -> None:
    study = matched_study(instances=2)
    storage.path_of(study.instances.earliest("pk").spool_key).write_bytes(damage)
    with peer() as archive:
        delivery = queued(study, destination(archive.port))
        deliver(delivery.pk)
    assert state(delivery) == ("FAILED", ["FAILED", "SENT"])
    assert "spool is damaged" in case("delivery_failed").summary
    assert Line.objects.get(destination=delivery.destination_id).attempts == 0


@pytest.mark.django_db(transaction=True)
def test_a_delivery_is_held_for_as_long_as_its_peer_needs() -> None:
    def slowly(_event: evt.Event) -> int:
        """For two leases; nobody else can take it meanwhile."""
        begun = Delivery.objects.get().lease_until
        assert begun is not None
        over = begun + timedelta(seconds=2)
        wait_for(lambda: (Delivery.objects.get().lease_until or begun) > over, what="a lease that is renewed")
        taken.append(leases.take(Delivery.objects.all(), delivery.pk))
        connection.close()
        return 0x0000

    taken: list[Delivery | None] = []
    with peer() as archive, override_settings(LEASE_SECONDS=1):
        archive.answer = slowly
        delivery = queued(matched_study(), destination(archive.port))
        deliver(delivery.pk)
    assert taken == [None]
    assert (state(delivery), len(archive.got)) == (("SENT", ["SENT"]), 1)


def test_a_defect_of_ours_is_tried_again_and_shown_like_any_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_args: object, **_more: object) -> str:
        raise KeyError("Doe^Jane")

    delivery = queued(matched_study(), destination())
    monkeypatch.setattr(delivering, "_items", defect)
    deliver(delivery.pk)
    assert state(delivery)[0] == "RETRYING"
    assert delivery.last_error == "Internal error (KeyError)"
