"""The KPI pages, whole and as parts; on paper, as a table and as pictures; and the same figures by REST."""

import csv
import datetime as dt
import io
import re
from html import unescape
from xml.etree import ElementTree as ET

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from orchestrator.kpis.definitions import DEFINITIONS
from orchestrator.models import KpiTarget, Role, Site, Subscription
from orchestrator.services import kpi_rollups
from orchestrator.services.subscriptions import ATTEMPTS_UNTIL_CASE
from tests.factories import make_site, make_user
from tests.orchestrator.kpi_histories import judged_study, opened_case, scheduled_order

pytestmark = pytest.mark.django_db

PART = {"HX-Request": "true", "HX-Request-Type": "partial"}
NAMES = sorted(DEFINITIONS)
SVG = "{http://www.w3.org/2000/svg}"


def client(role: Role = Role.MANAGER, site: Site | None = None) -> Client:
    signed_in = Client()
    signed_in.force_login(make_user(role, site=site))
    return signed_in


@pytest.fixture
def ward() -> Site:
    """A day with three studies of which one is held, two orders and two open cases; AE titles are named by peers."""
    now, site = timezone.now(), make_site("NORTH")
    for each in ("matched", "matched", "held"):
        judged_study(each, at=now, site=site, calling_ae_title="=CMD()" if each == "held" else "CT_1")
    for seconds in (0.3, 20.0):
        scheduled_order(seconds, at=now, site=site)
    opened_case(at=now - dt.timedelta(minutes=5), site=site, source="<b>RIS</b>")
    kpi_rollups.rebuild()
    return site


@pytest.mark.parametrize(
    "path", ["", "review/", *(f"{name}/" for name in NAMES), *(f"{name}/behind/" for name in NAMES)]
)
def test_a_kpi_page_works_whole_and_as_a_part_with_and_without_figures(path: str, ward: Site) -> None:
    south = make_site("SOUTH", issuer="")
    for signed_in in (client(), client(site=south)):
        whole = signed_in.get(f"/kpis/{path}")
        assert whole.status_code == 200
        assert b"<html" in whole.content
        assert b"<b>RIS" not in whole.content
        part = signed_in.get(f"/kpis/{path}", headers=PART)
        assert b"<html" not in part.content
    assert b"Doe" not in whole.content


def test_the_table_of_the_kpis_says_value_target_and_state(ward: Site) -> None:
    text = client().get("/kpis/").content.decode()
    assert "2 of 4 miss" not in text
    for expected in ("66.7%", "33.3%", "target 97.0%", "3 of 4 miss their target", "Matched without a person"):
        assert expected in text
    assert client(site=make_site("SOUTH", issuer="")).get("/kpis/").content.decode().count("No studies") == 2


def test_the_review_is_of_the_last_whole_week_or_of_the_days_that_are_asked_for(ward: Site) -> None:
    signed_in, today = client(), timezone.localdate()
    monday = today - dt.timedelta(days=today.weekday() + 7)
    asked = {
        "": (monday, monday + dt.timedelta(days=6)),
        "?to=2026-06-28": (dt.date(2026, 6, 22), dt.date(2026, 6, 28)),
        "?from=2026-06-01&to=2026-06-28": (dt.date(2026, 6, 1), dt.date(2026, 6, 28)),
    }
    for query, days in asked.items():
        period = signed_in.get(f"/kpis/review/{query}").context["asked"].period
        assert (period.first, period.last) == days, query


@pytest.mark.parametrize(
    "path", ["", "review/", "mismatch_rate/", "mismatch_rate/behind/", "mismatch_rate/days.svg", "csv/"]
)
def test_figures_that_nobody_brings_up_to_date_say_until_when_all_is_counted(path: str, ward: Site) -> None:
    signed_in, now = client(), timezone.localtime()
    owed = Subscription.objects.filter(subscriber__startswith="orchestrator.services.kpi_rollups.")
    owed.update(created_at=now - dt.timedelta(seconds=20))
    assert "Counted to" not in signed_in.get(f"/kpis/{path}").text
    stopped = now - dt.timedelta(hours=30)
    owed.filter(pk=owed.earliest("pk").pk).update(created_at=stopped)
    expected = stopped.isoformat(timespec="seconds") if path == "csv/" else f"Counted to {stopped:%d %b %H:%M} only."
    assert expected in signed_in.get(f"/kpis/{path}").text
    # Of what fails again and again its case tells.
    owed.filter(created_at=stopped).update(attempts=ATTEMPTS_UNTIL_CASE)
    assert expected not in signed_in.get(f"/kpis/{path}").text
    assert "Counted to" not in signed_in.get(f"/kpis/{path}").text
    owed.update(status="DONE", next_attempt_at=None)
    assert "Counted to" not in signed_in.get(f"/kpis/{path}").text


def test_every_number_leads_to_what_is_behind_it(ward: Site) -> None:
    signed_in = client()
    page = signed_in.get("/kpis/mismatch_rate/?by=source").content.decode()
    assert "What is counted, precisely" in page
    assert "behind/?from=" in page
    behind = signed_in.get("/kpis/mismatch_rate/behind/?counted=numerator").content.decode()
    assert behind.count('id="fact-') == 1
    assert signed_in.get("/kpis/exception_backlog/behind/").content.decode().count('id="fact-') == 2
    today = timezone.now().date().isoformat()
    days = signed_in.get(f"/kpis/exception_backlog/?from={today}&to={today}").content.decode()
    for side, number in (("opened", 2), ("settled", 0)):
        address = f"?from={today}&amp;to={today}&amp;site=all&amp;day={today}&amp;counted={side}"
        assert f'behind/{address}">{number}</a>' in days
        rows = signed_in.get(f"/kpis/exception_backlog/behind/{unescape(address)}").content.decode()
        assert rows.count('id="fact-') == number
    assert signed_in.get("/kpis/order_to_worklist/behind/?counted=rest").content.decode().count('id="fact-') == 1


def test_all_sites_stay_all_sites_behind_a_number_when_the_top_bar_names_one(ward: Site) -> None:
    signed_in = client()
    judged_study("held", site=make_site("SOUTH"), at=timezone.now())
    kpi_rollups.rebuild()
    signed_in.post("/shell/site/", {"site": str(ward.pk)})
    assert "site=all" in signed_in.get("/kpis/?site=all").content.decode()
    page = signed_in.get("/kpis/mismatch_rate/?site=all").content.decode()
    [address] = re.findall(r'href="(/kpis/mismatch_rate/behind/[^"]*)">All of them', page)
    assert signed_in.get(unescape(address)).content.decode().count('id="fact-') == 2
    of_one = signed_in.get("/kpis/mismatch_rate/").content.decode()
    [address] = re.findall(r'href="(/kpis/mismatch_rate/behind/[^"]*)">All of them', of_one)
    assert signed_in.get(unescape(address)).content.decode().count('id="fact-') == 1


@pytest.mark.parametrize(
    "query",
    [
        "day=x", "day=0001-01-01", "hour=x", "from=1", "from=2020-01-01", "from=0001-01-01&to=0001-01-03",
        "from=9999-12-25&to=9999-12-31", "after=x",
    ],
)  # fmt: skip
def test_an_address_that_is_none_of_ours_is_refused(query: str, ward: Site) -> None:
    assert client().get(f"/kpis/mismatch_rate/behind/?{query}").status_code == 400
    assert client().get("/kpis/happiness/").status_code == 404


def test_a_target_that_no_step_of_durations_ends_at_is_refused_in_words(ward: Site) -> None:
    answer = client().post("/kpis/order_to_worklist/target/", {"value": "4.5", "reason": "x"})
    assert answer.status_code == 422
    assert "choose 4 or 5 s" in answer.content.decode()
    assert client().post("/kpis/order_to_worklist/target/", {"value": "4", "reason": "x"}).status_code == 302


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("", 15),
        ("mismatch_rate/", 11),
        ("exception_backlog/", 13),
        ("order_to_worklist/", 12),
        ("mismatch_rate/behind/", 8),
    ],
)
def test_a_kpi_page_asks_the_database_as_often_whatever_there_is(
    path: str, number: int, ward: Site, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    signed_in = client()
    signed_in.get(f"/kpis/{path}")
    with django_assert_max_num_queries(number):
        signed_in.get(f"/kpis/{path}", headers=PART)


def test_a_spreadsheet_gets_numbers_and_never_a_formula(ward: Site) -> None:
    answer = client().get("/kpis/csv/?by=source")
    assert "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    whole = {row["kpi"]: row for row in rows if row["split"] == "period"}
    assert set(whole) == set(DEFINITIONS)
    assert (whole["auto_match_rate"]["value"], whole["auto_match_rate"]["denominator"]) == ("66.666667", "3")
    assert "'=CMD()" in {row["key"] for row in rows}
    assert not any(row["key"].startswith("=") for row in rows)


@pytest.mark.parametrize(
    "path", ["mismatch_rate/days", "mismatch_rate/split", "order_to_worklist/days", "exception_backlog/ages"]
)
def test_a_chart_can_be_taken_away_as_a_picture(path: str, ward: Site) -> None:
    answer = client().get(f"/kpis/{path}.svg")
    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    root = ET.fromstring(answer.content)  # noqa: S314  our own drawing
    assert root.tag == f"{SVG}svg"
    assert root.findtext(f"{SVG}title")
    assert root.findall(f".//{SVG}circle") or root.findall(f".//{SVG}rect[@class='s-a']")
    assert client().get("/kpis/mismatch_rate/ages.svg").status_code == 404


def test_a_manager_sets_a_target_with_a_reason_and_who_looks_after_one_site_does_not(ward: Site) -> None:
    manager = client()
    assert manager.post("/kpis/mismatch_rate/target/", {"value": "200", "reason": "x"}).status_code == 422
    assert manager.post("/kpis/mismatch_rate/target/", {"value": "50", "reason": "winter"}).status_code == 302
    kept = KpiTarget.history.get()
    assert (kept.value, kept.history_change_reason, kept.actor_kind) == (50.0, "winter", "user")
    assert "set by" in manager.get("/kpis/mismatch_rate/").content.decode()
    assert client(site=ward).post("/kpis/mismatch_rate/target/", {"value": "1", "reason": "x"}).status_code == 403
    assert "Set the target" not in client(site=ward).get("/kpis/mismatch_rate/").content.decode()


def test_the_rest_api_gives_the_kpis_by_name(ward: Site) -> None:
    signed_in = client()
    answer = signed_in.get("/api/v1/kpis/").json()
    assert [each["name"] for each in answer["results"]] == list(DEFINITIONS)
    today = timezone.now().date().isoformat()
    one = signed_in.get(f"/api/v1/kpis/auto_match_rate/?from={today}&to={today}&by=source").json()
    assert (one["unit"], one["target"], one["numerator"], one["denominator"]) == ("%", 97.0, 2, 3)
    assert one["series"] == [{"day": today, "value": one["value"], "numerator": 2, "denominator": 3}]
    assert one["breakdown"]["CT_1"] == {"value": 100.0, "numerator": 2, "denominator": 2}
    assert one["definition"] == DEFINITIONS["auto_match_rate"].definition
    assert signed_in.get("/api/v1/kpis/mismatch_rate/?site=NORTH").json()["breakdown"]["NORTH"]["denominator"] == 3
    assert signed_in.get("/api/v1/kpis/exception_backlog/").json()["denominator"] is None


def test_the_rest_api_says_until_when_all_is_counted(ward: Site) -> None:
    signed_in, stopped = client(), timezone.now() - dt.timedelta(hours=30)
    owed = Subscription.objects.filter(subscriber__startswith="orchestrator.services.kpi_rollups.")
    owed.filter(pk=owed.earliest("pk").pk).update(created_at=stopped)
    each = [*signed_in.get("/api/v1/kpis/").json()["results"], signed_in.get("/api/v1/kpis/mismatch_rate/").json()]
    assert {dt.datetime.fromisoformat(kpi["counted_to"]) for kpi in each} == {stopped}
    owed.update(status="DONE", next_attempt_at=None)
    before = timezone.now()
    now = dt.datetime.fromisoformat(signed_in.get("/api/v1/kpis/mismatch_rate/").json()["counted_to"])
    assert before <= now <= timezone.now()


@pytest.mark.parametrize(
    "path",
    [
        "?by=patient", "?from=yesterday", "?from=0001-01-01&to=0001-01-03",
        "exception_backlog/?from=0010-01-01&to=0010-01-07", "?to=9999-12-31",
        "?colour=red", "?site=MOON", "mismatch_rate/?by=x",
    ],
)  # fmt: skip
def test_the_rest_api_refuses_what_it_does_not_know(path: str, ward: Site) -> None:
    assert client().get(f"/api/v1/kpis/{path}").status_code == 400
    assert client().get("/api/v1/kpis/priors_in_time/").status_code == 404
    assert client(Role.READER).get("/api/v1/kpis/").status_code == 403
