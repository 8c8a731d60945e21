"""The pages of deliveries: the list and its filters, one with its proof, trying again and stopping it."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orchestrator import audit
from orchestrator.models import AccessEvent, Hop, Role, Site, Study, WorkflowEvent
from orchestrator.services import leases
from orchestrator.services.exceptions import open_case
from orchestrator.services.workflow import LeaseLost
from orchestrator.states import DeliveryStatus
from routing.models import DeliveredInstance, Delivery, DeliveryAttempt, Destination
from routing.services import destinations
from tests.factories import make_order, make_patient, make_site, make_study, make_user

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>"
PART = {"HX-Request": "true", "HX-Request-Type": "partial"}


def sign_in(role: Role = Role.PACS_ADMINISTRATOR, site: Site | None = None) -> Client:
    client = Client()
    client.force_login(make_user(role, site=site))
    return client


@pytest.fixture
def archive() -> Destination:
    make_site()
    return destinations.create(name="Archive", ae_title="ARCHIVE", host="127.0.0.1", port=104)


def make_delivery(archive: Destination, status: str = "FAILED", *, sent: int = 1, **columns: Any) -> Delivery:
    """A delivery of three objects of which `sent` are there and one was refused."""
    patient = make_patient(name=f"{HOSTILE}^Eve")
    study = make_study(make_order(patient=patient), instances=3)
    Study.objects.filter(pk=study.pk).update(patient=patient, study_description=HOSTILE)
    delivery = Delivery.objects.create(
        **{"study": study, "destination": archive, "rendition": "original", "status": status, "rule": "All CT",
           "last_error": f"status A900: {HOSTILE}", **columns}
    )  # fmt: skip
    for number, instance in enumerate(study.instances.order_by("pk")):
        there = number < sent
        DeliveredInstance.objects.create(
            delivery=delivery, instance=instance, status="SENT" if there else "FAILED",
            dimse_status=0 if there else 0xA900, error="" if there else HOSTILE,
        )  # fmt: skip
    DeliveryAttempt.objects.create(
        delivery=delivery, started_at=timezone.now(), sent=sent, outcome="FAILED", error=HOSTILE
    )
    return delivery


def address(delivery: Delivery, act: str = "") -> str:
    return f"/deliveries/{delivery.pk}/{act}"


def shown(client: Client, url: str) -> list[int]:
    return [each.pk for each in client.get(url).context["found"].rows]


def test_the_pages_work_whole_and_as_a_part_and_show_what_peers_sent_as_text(archive: Destination) -> None:
    delivery, client = make_delivery(archive), sign_in()
    for url in ("/deliveries/", address(delivery), address(delivery, "retry/"), address(delivery, "cancel/")):
        whole, part = client.get(url), client.get(url, headers=PART)
        assert "<html" in whole.text, url
        assert "<html" not in part.text, url
        for page in (whole, part):
            assert HOSTILE not in page.text.lower(), url
    for url in ("/deliveries/", address(delivery)):
        assert "&lt;script&gt;" in client.get(url, headers=PART).text.lower(), url
    assert "Nothing was sent yet" not in client.get("/deliveries/").text


def test_an_empty_list_says_what_would_stand_there() -> None:
    assert "Nothing was sent yet" in sign_in().get("/deliveries/").text
    assert "No delivery has all of these" in sign_in().get("/deliveries/?status=FAILED").text


def test_the_list_is_narrowed_by_state_destination_and_study(archive: Destination) -> None:
    other = destinations.create(name="Other", ae_title="OTHER", host="127.0.0.1", port=104)
    failed, queued, sent = (
        make_delivery(archive), make_delivery(archive, "QUEUED"), make_delivery(other, "SENT")
    )  # fmt: skip
    client = sign_in()
    assert shown(client, "/deliveries/") == [sent.pk, queued.pk, failed.pk]
    assert shown(client, "/deliveries/?status=FAILED") == [failed.pk]
    assert shown(client, "/deliveries/?status=waiting") == [queued.pk]
    assert shown(client, f"/deliveries/?destination={other.pk}") == [sent.pk]
    assert shown(client, f"/deliveries/?destination={archive.pk}&status=SENT") == []
    assert shown(client, f"/deliveries/?study={queued.study_id}") == [queued.pk]
    assert client.get("/deliveries/?status=%00").status_code == 400
    for nonsense in ("destination=x", f"study={'9' * 40}", "status=<script>"):
        assert len(shown(client, f"/deliveries/?{nonsense}")) == 3, nonsense


def test_a_search_by_study_uid_leaves_no_trace_in_the_address(archive: Destination) -> None:
    delivery, client = make_delivery(archive), sign_in()
    make_delivery(archive, "QUEUED")
    uid = delivery.study.study_instance_uid
    location = client.post("/deliveries/", {"q": uid}).headers["Location"]
    assert uid not in location
    assert shown(client, location) == [delivery.pk]
    assert shown(client, client.post("/deliveries/", {"q": "2.25.404"}).headers["Location"]) == []


def test_pages_of_the_list_follow_each_other(archive: Destination) -> None:
    study = make_study(make_order())
    made = [Delivery.objects.create(study=study, destination=archive, rendition=str(number)) for number in range(55)]
    client = sign_in()
    first = client.get("/deliveries/").context["found"]
    rest = shown(client, first.next)
    assert [*(each.pk for each in first.rows), *rest] == [each.pk for each in reversed(made)]


def test_a_delivery_shows_each_object_each_try_and_its_events(archive: Destination) -> None:
    delivery, client = make_delivery(archive), sign_in()
    page = client.get(address(delivery))
    assert [each["answer"] for each in page.context["instances"]] == ["A900H", "A900H", "0000H"]
    assert page.context["delivery"].total == 3
    assert "1 of 3 there, 2 refused" in page.text
    assert "has not taken all of it" in page.text
    assert len(page.context["tries"]) == 1


def test_what_is_held_there_is_proven_by_its_hop(archive: Destination) -> None:
    delivery = make_delivery(archive, "SENT", sent=3)
    Hop.objects.create(study=delivery.study, device=archive.device, rendition="another")
    client = sign_in()
    assert "Taken" not in client.get(address(delivery)).text
    Hop.objects.create(study=delivery.study, device=archive.device, rendition=delivery.rendition)
    assert "Taken" in client.get(address(delivery)).text


def test_the_case_about_a_delivery_is_one_click_away(archive: Destination) -> None:
    delivery = make_delivery(archive)
    case = open_case(
        "delivery_failed", about=delivery, reason_code="DELIVERY_FAILED", summary="x", site=delivery.study.site,
        study=delivery.study,
    )  # fmt: skip
    assert f"/exceptions/{case.pk}/" in sign_in().get(address(delivery)).text


def test_the_study_shows_where_it_was_sent_and_what_is_held_there(archive: Destination) -> None:
    delivery = make_delivery(archive, "SENT", sent=3)
    hop = Hop.objects.create(study=delivery.study, device=archive.device, rendition=delivery.rendition)
    page = sign_in().get(f"/studies/{delivery.study_id}/")
    [fact] = [each for each in page.context["facts"] if each["heading"] == "Deliveries"]
    assert fact["sub"] == "1 of 1 complete"
    assert [row["held_since"] for row in fact["rows"]] == [hop.at]
    assert address(delivery) in page.text
    # A reader may see the study and not its deliveries.
    reader = sign_in(Role.READER).get(f"/studies/{delivery.study_id}/")
    assert address(delivery) not in reader.text
    assert "Deliveries" not in [each["heading"] for each in reader.context["facts"]]
    assert "It was not sent anywhere yet" in sign_in().get(f"/studies/{make_study(make_order()).pk}/").text


def test_looking_is_recorded_and_how_much(archive: Destination) -> None:
    delivery, client = make_delivery(archive), sign_in()
    make_delivery(archive)
    client.get("/deliveries/")
    client.get(address(delivery))
    audit.recorder.flush()
    seen = AccessEvent.objects.filter(action="deliveries.view").order_by("pk")
    assert list(seen.values_list("subject_type", "subject_id", "number_of_records")) == [
        ("delivery", "", 2), ("delivery", str(delivery.pk), 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("role", "sees", "operates"),
    [(Role.QA_TECHNOLOGIST, True, True), (Role.MANAGER, True, False), (Role.READER, False, False)],
)
def test_a_role_sees_and_does_what_it_may(archive: Destination, role: Role, sees: bool, operates: bool) -> None:
    delivery, client = make_delivery(archive), sign_in(role)
    for url in ("/deliveries/", address(delivery)):
        assert client.get(url).status_code == (200 if sees else 403)
    for act in ("retry/", "cancel/"):
        assert client.get(address(delivery, act)).status_code == (200 if operates else 403)
        if sees:
            assert (address(delivery, act) in client.get(address(delivery)).text) == operates
    if not operates:
        assert client.post(address(delivery, "retry/"), {"reason": "x"}).status_code == 403
        assert Delivery.objects.get().status == DeliveryStatus.FAILED


def test_a_delivery_of_another_site_does_not_exist(archive: Destination) -> None:
    delivery = make_delivery(archive)
    client = sign_in(site=make_site("SOUTH"))
    assert shown(client, "/deliveries/") == []
    for act in ("", "retry/", "cancel/"):
        assert client.get(address(delivery, act)).status_code == 404
    assert client.post(address(delivery, "cancel/"), {"reason": "mine"}).status_code == 404
    assert Delivery.objects.get().status == DeliveryStatus.FAILED


def test_it_is_tried_again_from_where_it_stopped_however_often_the_form_is_sent(archive: Destination) -> None:
    delivery, client = make_delivery(archive, attempts=8), sign_in()
    assert client.post(address(delivery, "retry/"), {"reason": ""}).status_code == 422
    for _ in range(2):
        client.post(address(delivery, "retry/"), {"reason": "Disk bought"})
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.RETRYING, 0)
    statuses = sorted(delivery.instances.values_list("status", flat=True))
    assert statuses == ["QUEUED", "QUEUED", "SENT"], "what is there is not sent again"
    event = WorkflowEvent.objects.filter(name="delivery.retrying", subject_id=delivery.pk).earliest("pk")
    assert event.reason == "Disk bought"
    Delivery.objects.update(status=DeliveryStatus.SENT)
    late = client.post(address(delivery, "retry/"), {"reason": "Disk bought"}, follow=True)
    assert f"Nothing was changed: delivery {delivery.pk} is sent by now." in late.text


def test_what_is_being_sent_is_not_taken_from_its_worker_by_a_retry(archive: Destination) -> None:
    delivery, client = make_delivery(archive, "SENDING"), sign_in()
    assert address(delivery, "retry/") not in client.get(address(delivery)).text
    answer = client.post(address(delivery, "retry/"), {"reason": "slow"}, follow=True)
    assert "is sending by now" in answer.text
    assert Delivery.objects.get().status == DeliveryStatus.SENDING


def test_a_cancel_stops_the_worker_that_sends_it(archive: Destination) -> None:
    delivery, client = make_delivery(archive, "QUEUED"), sign_in()
    taken = leases.take(Delivery.objects.all(), delivery.pk)
    assert taken is not None
    client.post(address(delivery, "cancel/"), {"reason": "Wrong patient"})
    with pytest.raises(LeaseLost):
        leases.renew(taken)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.next_attempt_at) == (DeliveryStatus.CANCELED, None)
    assert delivery.finished_at is not None


def test_a_cancel_is_taken_back_by_its_undo_but_not_that_of_what_had_failed(archive: Destination) -> None:
    queued, failed, client = make_delivery(archive, "QUEUED"), make_delivery(archive), sign_in()
    answer = client.post(address(queued, "cancel/"), {"reason": "Not needed"}, follow=True)
    assert f'action="{address(queued, "retry/")}"' in answer.text
    client.post(address(queued, "retry/"))
    assert Delivery.objects.get(pk=queued.pk).status == DeliveryStatus.RETRYING
    answer = client.post(address(failed, "cancel/"), {"reason": "Given up"}, follow=True)
    assert f'action="{address(failed, "retry/")}"' not in answer.text
    again = client.post(address(failed, "cancel/"), {"reason": "Given up"}, follow=True)
    assert "is canceled by now" in again.text


def test_a_poll_of_what_did_not_change_is_empty_and_of_what_did_is_not(archive: Destination) -> None:
    delivery, client = make_delivery(archive, "RETRYING"), sign_in()

    def poll(url: str) -> int:
        first = client.get(url, headers=PART)
        return client.get(url, headers={**PART, "If-None-Match": first.headers["ETag"]}).status_code

    for attempts, url in enumerate(("/deliveries/", address(delivery)), 1):
        # What is told in minutes may change between two polls, once.
        assert 304 in (poll(url), poll(url))
        before = client.get(url, headers=PART).headers["ETag"]
        Delivery.objects.update(attempts=attempts)
        assert client.get(url, headers={**PART, "If-None-Match": before}).status_code == 200


def test_more_rows_need_no_more_queries(archive: Destination) -> None:
    delivery, client = make_delivery(archive), sign_in()
    pages = {"/deliveries/": 10, address(delivery): 13, f"/studies/{delivery.study_id}/": 15}

    def asked(url: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            client.get(url)
        return len(queries)

    # What is opened for the first time is remembered, once.
    client.get(f"/studies/{delivery.study_id}/")
    assert {url: asked(url) for url in pages} == pages
    for number in range(3):
        make_delivery(archive)
        other = destinations.create(name=f"More {number}", ae_title="MORE", host="127.0.0.1", port=104)
        Delivery.objects.create(study=delivery.study, destination=other, rendition="original")
    assert {url: asked(url) for url in pages} == pages
