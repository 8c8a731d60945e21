"""The board: each station's steps by how far they are, what it asked last, of the sites that the viewer may see."""

import datetime as dt
import re

import pytest
from django.test import Client
from django.utils import timezone

from orchestrator.models import (
    HL7Application,
    ImagingServiceRequest,
    InboundMessage,
    Patient,
    Role,
    ScheduledProcedureStep,
    Site,
)
from orchestrator.services.workflow import transition
from tests.factories import make_user
from tests.worklists.ward import ask, found, keys, peer, schedule
from worklists.models import WorklistQuery
from worklists.views import board as boards

pytestmark = pytest.mark.django_db

PART = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture
def today() -> dt.date:
    return timezone.localdate()


def signed_in(role: Role = Role.PACS_ADMINISTRATOR, site: Site | None = None) -> Client:
    client = Client()
    client.force_login(make_user(role, site=site), backend="django.contrib.auth.backends.ModelBackend")
    return client


def board(client: Client, address: str = "/worklist/") -> dict[str, list[str]]:
    """{station: what stands in each of its lanes, first what stands about itself}, as words."""
    html = client.get(address, headers=PART).content.decode()
    rows = re.findall(r'<tr id="station-.*?</tr>', html, re.DOTALL)
    cells = [re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL) for row in rows]
    words = [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in cells]
    return {row[0].partition(" MAIN")[0].partition(" Main")[0]: row for row in words}


def test_each_step_stands_at_its_station_in_the_lane_of_its_state(today: dt.date) -> None:
    schedule(name="WAITS^ANNA", day=today)
    for event, name in (("started", "LIES^BEA"), ("canceled", "GONE^CARL"), ("held", "HELD^DORA")):
        transition(schedule(name=name, day=today), f"step.{event}")
    schedule(name="ANYWHERE^EMIL", day=today, stations=())
    schedule(name="TOMORROW^FINN", day=today + dt.timedelta(1))
    rows = board(signed_in())
    assert list(rows) == ["CT_NORTH", "Any station"]
    scheduled, arrived, started, completed, not_done = rows["CT_NORTH"][1:]
    assert "WAITS" in scheduled
    assert "On hold" in scheduled
    assert (arrived, completed) == ("none", "none")
    assert "LIES" in started
    assert "GONE" in not_done
    assert "Canceled" in not_done
    assert "ANYWHERE" in rows["Any station"][1]


def test_a_step_that_nobody_gave_a_day_stands_on_the_day_it_was_ordered() -> None:
    schedule(name="WALKED^IN", day=None, time=None)
    ImagingServiceRequest.objects.update(created_at=dt.datetime(2026, 7, 5, 12, tzinfo=dt.UTC))
    assert "WALKED" in board(signed_in(), "/worklist/?day=2026-07-05")["CT_NORTH"][1]


def test_today_is_where_the_steps_are() -> None:
    zone = next(name for name in ("Pacific/Kiritimati", "Pacific/Pago_Pago") if _date_in(name) != timezone.localdate())
    Site.objects.update(time_zone=zone)
    schedule(name="THERE^NOW", day=_date_in(zone))
    assert "THERE" in board(signed_in())["CT_NORTH"][1]


def _date_in(zone: str) -> dt.date:
    with timezone.override(zone):
        return timezone.localdate()


def test_many_steps_are_counted_and_one_station_shows_them_all(today: dt.date) -> None:
    for number in range(5):
        schedule(name=f"NUMBER{number}^X", day=today)
    client = signed_in()
    assert board(client)["CT_NORTH"][1].endswith("2 more")
    assert "NUMBER4" in board(client, "/worklist/?station=CT_NORTH")["CT_NORTH"][1]
    assert board(client, "/worklist/?station=*") == {}


def test_a_day_with_more_steps_than_the_board_shows_says_so(today: dt.date, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        schedule(name=f"NUMBER{number}^X", day=today)
    client = signed_in()
    for most, said in ((3, False), (2, True)):
        monkeypatch.setattr(boards, "_STEPS", most)
        assert ("the board shows the first 2 of them" in client.get("/worklist/").text) is said


def test_a_station_says_what_it_asked_last_and_what_it_got(today: dt.date) -> None:
    schedule(day=today)
    found(keys({"Modality": "CT", "ScheduledStationAETitle": "CT_NORTH"}, PatientName="SECRET*", PatientID="*"))
    ask(
        keys({"Modality": "MR", "ScheduledProcedureStepStartDate": f"{today:%Y%m%d}"}, PatientName="*"),
        caller=peer("MR_EAST"),
    )
    ask(b"nonsense", caller=peer("US_WEST"))
    rows = board(signed_in())
    assert rows["CT_NORTH"][0].endswith("given 0 CT, own AE, one patient")
    assert "given 0 MR, today, any AE" in next(row[0] for row in rows.values() if "MR_EAST" in row[0])
    assert "refused not understood" in next(row[0] for row in rows.values() if "US_WEST" in row[0])
    WorklistQuery.objects.update(last_at=timezone.now() - dt.timedelta(days=2))
    assert "has not asked" in board(signed_in())["CT_NORTH"][0]


def test_a_viewer_of_another_site_sees_neither_steps_nor_questions(today: dt.date) -> None:
    schedule(day=today)
    found(keys())
    elsewhere = Site.objects.create(code="S", name="South")
    assert board(signed_in(Role.READER, elsewhere)) == {}


def test_a_poll_brings_a_corrected_name_and_nothing_when_nothing_changed(today: dt.date) -> None:
    step, client = schedule(name="DOE^JANE", day=today), signed_in()
    first = client.get("/worklist/", headers=PART)
    seen = {**PART, "If-None-Match": first.headers["ETag"]}
    assert client.get("/worklist/", headers=seen).status_code == 304
    Patient.objects.filter(orders__requested_procedures__steps=step).update(name="ROE^JANE")
    assert "ROE" in client.get("/worklist/", headers=seen).content.decode()


def test_a_hostile_name_is_text(today: dt.date) -> None:
    schedule(name="<script>alert(1)</script>", day=today, stations=('"><b>',))
    html = signed_in().get("/worklist/").content.decode()
    assert "<script>alert" not in html
    assert '"><b>' not in html
    assert ScheduledProcedureStep.objects.count() == 1


def test_an_order_shows_its_steps_beside_the_messages_that_made_it() -> None:
    step = schedule(day=None, time=None, stations=())
    order = step.procedure.order
    interface = HL7Application.objects.create(name="RIS", site=step.site)
    message = InboundMessage.objects.create(
        interface=interface,
        site=step.site,
        control_id="C77",
        message_type="ORM^O01",
        raw=b"",
        order=order,
        received_at=timezone.now(),
    )
    html = signed_in().get(f"/orders/{order.pk}/").content.decode()
    assert step.sps_id in html
    assert message.control_id in html
