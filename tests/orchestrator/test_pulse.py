"""The control room's figures: what is usual at this hour, and how long things take."""

import datetime as dt
from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orchestrator.models import Role, Site, WorkflowEvent
from orchestrator.permissions import Viewer
from orchestrator.views import pulse
from tests.factories import make_site, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def site() -> Site:
    return make_site()


def _happened(name: str, at: dt.datetime, site: Site, subject: int = 1) -> None:
    event = WorkflowEvent.objects.create(name=name, subject_type="delivery", subject_id=subject, site_id=site.pk)
    WorkflowEvent.objects.filter(pk=event.pk).update(at=at)


def _sent(site: Site, subject: int, *, ago: float, took: float) -> None:
    """A delivery that was sent so many minutes ago, having waited as long as that."""
    sent = timezone.now() - dt.timedelta(minutes=ago)
    _happened("delivery.queued", sent - dt.timedelta(minutes=took), site, subject)
    _happened("delivery.sent", sent, site, subject)


def test_what_waited_for_hours_is_told_when_an_archive_catches_up(site: Site) -> None:
    for subject in range(3):
        _sent(site, subject, ago=10, took=180)
    assert pulse.latencies(Viewer.of(make_user()))["Images"] == (180 * 60, 180 * 60)


def test_what_was_queued_twice_waited_since_the_last_time_before_it_was_sent(site: Site) -> None:
    _sent(site, 1, ago=5, took=40)
    _happened("delivery.queued", timezone.now() - dt.timedelta(minutes=5 + 15), site)
    _happened("delivery.queued", timezone.now(), site)
    assert pulse.latencies(Viewer.of(make_user()))["Images"][0] == pytest.approx(15 * 60, abs=5)


def test_of_many_the_latest_are_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "_MOST", 2)
    for subject, ago in enumerate((50, 40, 3, 2)):
        _sent(site, subject, ago=ago, took=1 if ago < 10 else 30)
    assert pulse.latencies(Viewer.of(make_user()))["Images"] == (60, 60)


def test_who_looks_again_at_once_costs_nothing_and_another_site_is_not_told(site: Site) -> None:
    _sent(site, 1, ago=10, took=2)
    everywhere, lake = Viewer.of(make_user()), make_site("LAKE", issuer="LAKE")
    told = pulse.latencies(everywhere)
    with CaptureQueriesContext(connection) as asked:
        assert pulse.latencies(everywhere) == told == {"Images": (120, 120)}
    assert not asked.captured_queries
    assert pulse.latencies(Viewer.of(make_user(Role.PACS_ADMINISTRATOR, site=lake))) == {}


def test_the_usual_hour_is_that_of_the_clock_on_the_wall(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monday = dt.datetime(2026, 3, 30, 8, 30, tzinfo=dt.UTC)  # 10:30 in Berlin, the day after the change to summer time
    monkeypatch.setattr(timezone, "now", lambda: monday)
    _happened("study.received", dt.datetime(2026, 3, 23, 9, 15, tzinfo=dt.UTC), site)  # 10:15 in Berlin
    with timezone.override("Europe/Berlin"):
        assert pulse.pulses(Viewer.of(make_user()))["Images"].usual == 1
