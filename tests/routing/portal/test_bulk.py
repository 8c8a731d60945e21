"""Many deliveries tried again or stopped: by hand in the portal, by filter over REST."""

import pytest
from django.test import Client

from orchestrator.models import Job, Role, User
from orchestrator.services import bulk, jobs
from orchestrator.states import DeliveryStatus
from routing.models import Delivery, Destination
from routing.services import destinations
from tests.factories import make_order, make_site, make_study, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def archive() -> Destination:
    make_site()
    return destinations.create(name="Archive", ae_title="ARCHIVE", host="127.0.0.1", port=104)


def delivery(archive: Destination, status: DeliveryStatus) -> Delivery:
    study = make_study(make_order())
    return Delivery.objects.create(study=study, destination=archive, rendition="original", status=status)


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def run_last() -> Job:
    job = Job.objects.latest("pk")
    jobs.run_job(job.pk)
    job.refresh_from_db()
    return job


def test_all_failed_ones_of_a_destination_are_tried_again(archive: Destination) -> None:
    failed = [delivery(archive, DeliveryStatus.FAILED) for _ in range(3)]
    sent = delivery(archive, DeliveryStatus.SENT)
    client = client_of(make_user(Role.QA_TECHNOLOGIST))
    page = client.get(f"/deliveries/?destination={archive.pk}")
    assert "data-pick-all" in page.text
    asked = client.post("/deliveries/bulk/retry/", {"all": "1", "filter": page.context["filter"]})
    assert "Retry 4 deliveries?" in asked.text
    assert "1 left as it is: sent." in asked.text
    meant = {"all": "1", "filter": page.context["filter"], "seen": asked.context["seen"]}
    client.post("/deliveries/bulk/retry/", {**meant, "reason": "Disk freed"})
    job = run_last()
    assert job.result == {"done": 3, "skipped": 1, "failed": 0}
    assert set(Delivery.objects.filter(pk__in=[each.pk for each in failed]).values_list("status", flat=True)) == {
        DeliveryStatus.RETRYING
    }
    assert job.items.get(subject_id=sent.pk).text == "Left as it is: sent."


def test_what_ended_meanwhile_is_not_touched(archive: Destination) -> None:
    waiting, ended = delivery(archive, DeliveryStatus.QUEUED), delivery(archive, DeliveryStatus.RETRYING)
    client = client_of(make_user())
    client.post("/deliveries/bulk/cancel/", {"pick": [waiting.pk, ended.pk], "reason": "Wrong rule"})
    Delivery.objects.filter(pk=waiting.pk).update(status=DeliveryStatus.RETRYING)
    Delivery.objects.filter(pk=ended.pk).update(status=DeliveryStatus.FAILED)
    job = run_last()
    told = {item.subject_id: item.text for item in job.items.all()}
    assert told == {waiting.pk: "", ended.pk: "Changed since you started this: it is failed."}
    assert "Try them again…" in client.get(f"/jobs/{job.pk}/").text


def test_a_cancel_of_what_had_failed_offers_no_way_to_send_it_after_all(archive: Destination) -> None:
    failed = delivery(archive, DeliveryStatus.FAILED)
    client = client_of(make_user())
    client.post("/deliveries/bulk/cancel/", {"pick": [failed.pk], "reason": "Wrong rule"})
    job = run_last()
    failed.refresh_from_db()
    assert failed.status == DeliveryStatus.CANCELED
    assert "Try them again…" not in client.get(f"/jobs/{job.pk}/").text


def test_no_more_is_done_than_was_shown(archive: Destination) -> None:
    delivery(archive, DeliveryStatus.FAILED)
    sending = delivery(archive, DeliveryStatus.SENDING)
    client = client_of(make_user())
    meant = {"all": "1", "filter": f"destination={archive.pk}", "reason": "Disk freed"}
    unseen = client.post("/deliveries/bulk/retry/", meant)
    assert unseen.status_code == 409
    assert "Retry 1</button>" in unseen.text
    Delivery.objects.filter(pk=sending.pk).update(status=DeliveryStatus.FAILED)
    more = client.post("/deliveries/bulk/retry/", {**meant, "seen": unseen.context["seen"]})
    assert more.status_code == 409
    assert "Nothing was changed: more match now" in more.text
    assert "Retry 2</button>" in more.text
    assert not Job.objects.exists()
    late = delivery(archive, DeliveryStatus.FAILED)
    client.post("/deliveries/bulk/retry/", {**meant, "seen": more.context["seen"]})
    job = run_last()
    assert job.result == {"done": 2, "skipped": 0, "failed": 0}
    late.refresh_from_db()
    assert late.status == DeliveryStatus.FAILED


def test_a_job_of_another_kind_says_nothing_about_deliveries(archive: Destination) -> None:
    user = make_user()
    other = bulk.start("reconciliation.services.bulk.settle", title="X", owner=user, rows=[(1, "")], parameters={})
    assert client_of(user).post("/deliveries/bulk/retry/", {"job": other.pk}).status_code == 404


def test_who_may_only_look_has_nothing_to_tick(archive: Destination) -> None:
    delivery(archive, DeliveryStatus.FAILED)
    manager = client_of(make_user(Role.MANAGER))
    assert "data-pick" not in manager.get("/deliveries/").text.partition("<main")[2].partition("</main>")[0]
    assert manager.post("/deliveries/bulk/retry/", {"all": "1"}).status_code == 403


def test_a_program_retries_all_that_match_a_filter(archive: Destination) -> None:
    delivery(archive, DeliveryStatus.FAILED)
    client = client_of(make_user())
    url, body = "/api/v1/deliveries/bulk/", {"action": "retry", "reason": "Disk freed"}
    nothing = client.post(url, body, content_type="application/json")
    assert nothing.status_code == 400
    unknown = client.post(url, {**body, "filter": {"colour": "red"}}, content_type="application/json")
    assert unknown.status_code == 400
    for everything in ({"limit": "5"}, {"status": ""}, {"status": "FAILED", "cursor": "x"}):
        assert client.post(url, {**body, "filter": everything}, content_type="application/json").status_code == 400
    asked = client.post(url, {**body, "filter": {"status": "FAILED"}}, content_type="application/json")
    assert asked.status_code == 202
    assert asked.json()["total"] == 1
    run_last()
    done = client.get(f"/api/v1/jobs/{asked.json()['id']}/").json()
    assert (done["status"], done["result"]["done"]) == ("DONE", 1)
