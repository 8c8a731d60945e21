"""The KPI pages in a real browser: accessible, no wider than the screen, the review on two sheets of paper."""

import datetime as dt
import re

import pytest
from django.utils import timezone

from orchestrator.kpis.definitions import DEFINITIONS
from orchestrator.services import kpi_rollups
from tests.accessibility import violations
from tests.browser import Open
from tests.factories import make_site
from tests.orchestrator.kpi_histories import judged_study, opened_case, scheduled_order

pytestmark = pytest.mark.peer("chromium")

PATHS = ("/kpis/", *(f"/kpis/{name}/" for name in DEFINITIONS), "/kpis/exception_backlog/?by=reason",
         "/kpis/mismatch_rate/behind/", "/kpis/review/")  # fmt: skip


def _fill() -> None:
    now, site = timezone.now(), make_site("NORTH")
    for days in range(9):
        for event in ("matched", "held"):
            judged_study(event, at=now - dt.timedelta(days=days), site=site)
        scheduled_order(0.3 + days, at=now - dt.timedelta(days=days), site=site)
    for number, kind in enumerate(("no_route", "delivery_failed", "incomplete_study")):
        opened_case(at=now - dt.timedelta(hours=3 * number), kind=kind, site=site)
    kpi_rollups.rebuild()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_kpi_pages_break_no_accessibility_rule_and_fit_the_screen(open_page: Open, width: int, dark: bool) -> None:
    _fill()
    page = open_page(PATHS[0], width=width, dark=dark)
    for path in PATHS:
        page.goto(path)
        assert (path, violations(page)) == (path, [])
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_the_weekly_review_prints_on_two_sheets_and_its_key_leads_to_the_kpis(open_page: Open) -> None:
    _fill()
    page = open_page("/kpis/review/")
    assert violations(page) == []
    paper = page.pdf(format="A4", prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page[^s]", paper)) == 2
    page.keyboard.press("g")
    page.keyboard.press("k")
    page.wait_for_url("**/kpis/")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/kpis/auto_match_rate/**")
