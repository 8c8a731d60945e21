"""The pages of destinations: what is shown to whom, what is refused, and echoes of real peers."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from orchestrator.models import Device, Role, Site, WorkflowEvent
from orchestrator.states import DeliveryStatus
from routing.models import Delivery, Destination
from routing.services import destinations
from tests.factories import make_order, make_site, make_study, make_user
from tests.peers import free_port, storescp

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>"
PART = {"HX-Request": "true", "HX-Request-Type": "partial"}
GIVEN = {"name": "Archive", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": 104}
ECHO_OF_NOBODY = pytest.mark.filterwarnings(
    # pynetdicom leaves a socket that found nobody to the garbage collector.
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)


def sign_in(role: Role = Role.PACS_ADMINISTRATOR, site: Site | None = None) -> Client:
    client = Client()
    client.force_login(make_user(role, site=site))
    return client


def make_destination(**columns: Any) -> Destination:
    make_site()
    return destinations.create(**{**GIVEN, **columns})


def make_delivery(destination: Destination, status: str = "QUEUED", *, site: Site | None = None) -> Delivery:
    study = make_study(make_order(site=site))
    done = timezone.now() if status == DeliveryStatus.SENT else None
    return Delivery.objects.create(
        study=study, destination=destination, rendition="original", status=status, finished_at=done
    )


def address(destination: Destination, act: str = "") -> str:
    return f"/destinations/{destination.pk}/{act}"


def test_the_list_and_a_destination_work_whole_and_as_a_part_and_show_names_as_text() -> None:
    archive = make_destination(name=HOSTILE)
    client = sign_in()
    for url in ("/destinations/", address(archive), "/destinations/add/", address(archive, "edit/")):
        whole, part = client.get(url), client.get(url, headers=PART)
        assert "<html" in whole.text, url
        assert "<html" not in part.text, url
        for page in (whole, part):
            assert HOSTILE not in page.text, url
    assert "&lt;script&gt;" in client.get("/destinations/", headers=PART).text


def test_the_navigation_leads_there() -> None:
    text = sign_in().get("/destinations/").text
    assert 'href="/destinations/"' in text
    assert 'href="/deliveries/"' in text
    assert "Nothing can be sent anywhere yet" in text


def test_a_row_tells_what_waits_what_failed_and_when_it_last_went_well() -> None:
    archive, other = make_destination(), make_destination(name="Other")
    for status in ("QUEUED", "RETRYING", "FAILED", "SENT", "CANCELED"):
        make_delivery(archive, status)
    rows = {row.destination.name: row for row in sign_in().get("/destinations/").context["rows"]}
    assert (rows["Archive"].waiting, rows["Archive"].failed) == (2, 1)
    assert rows["Archive"].last_sent_at == Delivery.objects.get(status="SENT").finished_at
    assert rows[other.name][1:] == (0, 0, None)


def test_numbers_are_of_the_sites_that_one_may_see() -> None:
    archive, south = make_destination(), make_site("SOUTH")
    make_delivery(archive, "FAILED")
    client = sign_in(site=south)
    [row] = client.get("/destinations/").context["rows"]
    assert row.failed == 0
    page = client.get(address(archive))
    assert page.context["rows"] == []
    assert page.context["at_work"].failed == 0


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.PACS_ADMINISTRATOR, {"view", "operate", "edit"}), (Role.QA_TECHNOLOGIST, {"view", "operate"}),
        (Role.MANAGER, {"view"}), (Role.READER, set()), (Role.AUDITOR, set()),
    ],
)  # fmt: skip
def test_a_role_sees_and_does_what_it_may(role: Role, may: set[str]) -> None:
    archive = make_destination()
    client = sign_in(role)
    for url, needed in (
        ("/destinations/", "view"), (address(archive), "view"), ("/destinations/add/", "edit"),
        (address(archive, "edit/"), "edit"), (address(archive, "pause/"), "operate"),
    ):  # fmt: skip
        assert client.get(url).status_code == (200 if needed in may else 403), url
    if "view" in may:
        text = client.get(address(archive)).text
        assert ("C-ECHO <kbd>" in text) == ("operate" in may)
        assert ("/edit/" in text) == ("edit" in may)
        assert ("/destinations/add/" in client.get("/destinations/").text) == ("edit" in may)
    if "operate" not in may:
        assert client.post(address(archive, "echo/")).status_code == 403
        assert client.post(address(archive, "pause/"), {"reason": "x"}).status_code == 403
        assert not Destination.objects.get().paused


def test_a_destination_that_is_not_there_is_not_found() -> None:
    client = sign_in()
    for act in ("", "edit/", "pause/", "resume/"):
        assert client.get(f"/destinations/999/{act}").status_code == 404
    assert client.post("/destinations/999/echo/").status_code == 404


def test_it_is_added_once_however_often_the_form_is_sent() -> None:
    site, client = make_site(), sign_in()
    asked = {**GIVEN, "required_for_custody": "on", "site": site.pk}
    first, second = client.post("/destinations/add/", asked), client.post("/destinations/add/", asked)
    made = Destination.objects.get()
    assert (first.status_code, first.headers["Location"]) == (302, address(made))
    assert second.status_code == 422
    assert "Another destination has this name." in second.text
    assert (made.device.name, made.device.site, made.required_for_custody) == ("Archive", site, True)


def test_it_stands_on_the_device_that_has_its_name() -> None:
    site, client = make_site(), sign_in()
    known = Device.objects.create(name="Archive", site=site, kind=Device.Kind.PROCESSOR)
    client.post("/destinations/add/", {**GIVEN, "site": site.pk})
    assert Destination.objects.get().device == known


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ae_title", "SEVENTEEN_LETTERS"), ("ae_title", "A\\B"), ("ae_title", "   "), ("ae_title", "CT\tA"),
        ("ae_title", "ARCHÄV"), ("host", "http://archive"), ("host", "a b"), ("host", ""), ("port", "70000"),
        ("port", "0"), ("port", "-1"), ("port", "none"), ("name", ""), ("name", "x" * 101),
    ],
)  # fmt: skip
def test_what_cannot_be_a_destination_is_refused_at_its_field(field: str, value: str) -> None:
    site, client = make_site(), sign_in()
    answer = client.post("/destinations/add/", {**GIVEN, "site": site.pk, field: value})
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == {field}
    assert not Destination.objects.exists()


def test_a_change_stands_in_the_history_with_its_reason_and_no_change_does_not() -> None:
    archive, client = make_destination(), sign_in()
    asked = {**GIVEN, "port": 11112, "reason": f"Moved {HOSTILE}"}
    for _ in range(2):
        assert client.post(address(archive, "edit/"), asked).status_code == 302
    newest = archive.history.latest()
    assert archive.history.count() == 2
    assert (newest.port, newest.history_change_reason) == (11112, f"Moved {HOSTILE}")
    text = client.get(address(archive)).text
    assert "Port: 104 → 11112" in text
    assert HOSTILE not in text


def test_a_change_without_reason_or_to_a_name_that_is_taken_is_refused() -> None:
    archive, client = make_destination(), sign_in()
    make_destination(name="Other")
    assert client.post(address(archive, "edit/"), GIVEN).status_code == 422
    taken = client.post(address(archive, "edit/"), {**GIVEN, "name": "Other", "reason": "x"})
    assert "Another destination has this name." in taken.text
    assert Destination.objects.get(pk=archive.pk).name == "Archive"


def test_it_is_paused_and_resumed_with_a_reason_once() -> None:
    archive, client = make_destination(), sign_in(Role.QA_TECHNOLOGIST)
    assert client.post(address(archive, "pause/"), {"reason": " "}).status_code == 422
    for _ in range(2):
        client.post(address(archive, "pause/"), {"reason": "Disk full"})
    assert [each.history_change_reason for each in archive.history.filter(paused=True)] == ["Disk full"]
    text = client.get(address(archive)).text
    assert "“Disk full”" in text
    assert "/resume/" in text
    client.post(address(archive, "resume/"), {"reason": "Disk bought"})
    assert not Destination.objects.get().paused


def test_a_pause_is_taken_back_by_its_undo() -> None:
    archive, client = make_destination(), sign_in()
    answer = client.post(address(archive, "pause/"), {"reason": "Disk full"}, follow=True)
    assert address(archive, "resume/") in answer.text
    client.post(address(archive, "resume/"))
    assert not Destination.objects.get().paused


def said(answer: Any) -> dict[str, str]:
    toast: dict[str, str] = json.loads(answer.headers["HX-Trigger"])["toast"]
    return toast


@pytest.mark.peer("dcmtk")
def test_an_echo_of_a_peer_is_told_at_once_and_stays_on_the_page(tmp_path: Path) -> None:
    client = sign_in(Role.QA_TECHNOLOGIST)
    with storescp(tmp_path / "in", ae_title="ARCHIVE") as peer:
        archive = make_destination(port=peer.port)
        answer = client.post(address(archive, "echo/"), headers=PART)
        assert client.post(address(archive, "echo/")).headers["Location"] == address(archive)
    assert answer.status_code == 204
    assert said(answer)["colour"] == "good"
    detail = WorkflowEvent.objects.filter(name="destination.echoed").earliest("pk").detail
    assert detail["ok"] is True
    assert said(answer)["message"] == f"Archive answered in {detail['milliseconds']} ms."
    page = client.get(address(archive)).text
    assert f"Answered in {detail['milliseconds']} ms" in page
    assert "Answers" in page


@ECHO_OF_NOBODY
@pytest.mark.parametrize(
    ("host", "reason"),
    [("127.0.0.1", "could not be reached"), ("no-such-host.invalid", "name is not known"), ("..", "name is not known")],
)
def test_an_echo_of_nobody_says_why(host: str, reason: str) -> None:
    archive, client = make_destination(host=host, port=free_port()), sign_in()
    answer = client.post(address(archive, "echo/"), headers=PART)
    assert said(answer)["colour"] == "bad"
    assert reason in said(answer)["message"]
    page = client.get(address(archive)).text
    assert reason in page
    assert "Does not answer" in page


def test_a_poll_of_what_did_not_change_is_empty_and_of_what_did_is_not() -> None:
    archive, client = make_destination(), sign_in()

    def poll(url: str) -> int:
        first = client.get(url, headers=PART)
        return client.get(url, headers={**PART, "If-None-Match": first.headers["ETag"]}).status_code

    for url in ("/destinations/", address(archive)):
        # What is told in minutes may change between two polls, once.
        assert 304 in (poll(url), poll(url))
        shown = client.get(url, headers=PART).headers["ETag"]
        make_delivery(archive, "FAILED")
        assert client.get(url, headers={**PART, "If-None-Match": shown}).status_code == 200


def test_more_rows_need_no_more_queries(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    client = sign_in()
    archive = make_destination()
    make_delivery(archive, "FAILED")
    for url, queries in (("/destinations/", 8), (address(archive), 14)):
        client.get(url)
        with django_assert_num_queries(queries):
            client.get(url)
    for number in range(3):
        make_destination(name=f"More {number}")
        make_delivery(archive, "FAILED")
    for url, queries in (("/destinations/", 8), (address(archive), 14)):
        with django_assert_num_queries(queries):
            client.get(url)
