"""Times in words, exact on hover; peers' dates in ISO form."""

import datetime as dt

import pytest
import time_machine
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.templatetags import moments
from orchestrator.templatetags.formats import age, ago, clock, dicom_time, due, hl7_time, iso_date, span, waited

NOW = dt.datetime(2026, 11, 16, 9, 42, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def _at_nine_forty_two() -> object:
    with time_machine.travel(NOW, tick=False), timezone.override("Europe/Berlin"):
        yield


@pytest.mark.parametrize(
    ("minutes", "colour", "words"),
    [
        (-12, "is-bad", "12 min over"),
        (-252, "is-bad", "4 h 12 over"),
        (16, "is-wait", "16 min left"),
        (59, "is-wait", "59 min left"),
        (60, "ink2", "1 h 00 left"),
        (68, "ink2", "1 h 08 left"),
        (3000, "ink2", "2 d 2 h left"),
    ],
)
def test_time_left_is_told_in_colour_and_in_words(minutes: int, colour: str, words: str) -> None:
    shown = due(NOW + dt.timedelta(minutes=minutes))
    assert f">{words}</time>" in shown
    assert colour in shown


def test_no_due_time_is_said() -> None:
    assert due(None) == '<span class="sub">no due time</span>'


def test_a_relative_time_has_the_exact_one_in_the_viewers_zone() -> None:
    shown = ago(dt.datetime(2026, 11, 16, 8, 56, 14, tzinfo=dt.UTC))
    assert 'datetime="2026-11-16T09:56:14+01:00"' in shown
    assert 'title="Mon 16 Nov 2026, 09:56:14 CET"' in shown
    assert ">45 min ago</time>" in shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (2, "just now"),
        (-2, "just now"),
        (12, "12 s ago"),
        (-300, "in 5 min"),
        (90000, "1 d 1 h ago"),
        (40 * 86400, "2026-10-07"),
    ],
)
def test_relative_times(seconds: int, words: str) -> None:
    assert moments.relative(NOW - dt.timedelta(seconds=seconds), NOW) == words


def test_a_clock_is_short_today_and_has_a_date_before() -> None:
    assert ">10:12</time>" in clock(NOW - dt.timedelta(minutes=30))
    assert ">15 Nov 10:42</time>" in clock(NOW - dt.timedelta(days=1))
    assert ">2025-11-16</time>" in clock(NOW - dt.timedelta(days=365))


def test_spans_and_ages_of_things() -> None:
    assert span(45) == "45 s"
    assert span(dt.timedelta(hours=4, minutes=11)) == "4 h 11"
    assert span(None) == "–"  # noqa: RUF001  # the dash that people see
    assert waited(NOW - dt.timedelta(minutes=46)) == "46 min"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("19680314", "1968-03-14"),
        ("1968.03.14", "1968-03-14"),
        ("196803", "1968-03"),
        ("1968", "1968"),
        ("19680314081500", "1968-03-14"),
        (dt.date(1968, 3, 14), "1968-03-14"),
        (dt.datetime(2026, 11, 15, 23, 30, tzinfo=dt.UTC), "2026-11-16"),
        ("14 March", "14 March"),
        ("<b>", "<b>"),
        ("", "–"),  # noqa: RUF001
        (None, "–"),  # noqa: RUF001
    ],
)
def test_dates_are_iso_and_unreadable_ones_as_they_were_sent(sent: object, shown: str) -> None:
    assert iso_date(sent) == shown


@pytest.mark.parametrize(
    ("sent", "shown"),
    [("084710.123", "08:47:10"), ("0847", "08:47"), ("08", "08"), ("08:47:10", "08:47:10"), ("x", "x")],
)
def test_dicom_times(sent: str, shown: str) -> None:
    assert dicom_time(sent) == shown


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("202611160845+0100", "2026-11-16 08:45 +0100"),
        ("20261116084500.1234", "2026-11-16 08:45:00"),
        ("20261116", "2026-11-16"),
        ("2026", "2026"),
        ("yesterday", "yesterday"),
    ],
)
def test_hl7_times_keep_their_zone_as_sent(sent: str, shown: str) -> None:
    assert hl7_time(sent) == shown


@pytest.mark.parametrize(
    ("born", "words"),
    [
        ("19610227", "65 y"),
        (dt.date(1961, 11, 17), "64 y"),
        ("20251016", "13 mo"),
        ("20261101", "15 d"),
        ("", ""),
        ("20990101", ""),
    ],
)
def test_a_persons_age(born: object, words: str) -> None:
    assert age(born) == words


@given(st.text(max_size=30))
def test_any_text_can_be_shown_as_a_date_or_time(sent: str) -> None:
    for shown in (iso_date(sent), dicom_time(sent), hl7_time(sent)):
        assert shown
        assert "\x00" not in shown


@given(st.dates(min_value=dt.date(1000, 1, 1)))
def test_every_dicom_date_is_read_back(date: dt.date) -> None:
    assert iso_date(date.strftime("%Y%m%d")) == date.isoformat()


@given(st.integers(0, 10**8), st.integers(0, 10**8))
def test_a_longer_span_never_reads_as_a_shorter_unit(first: int, second: int) -> None:
    units = ["s", "min", "h", "d"]

    def rank(seconds: int) -> int:
        return units.index(moments.long_ago(seconds).split()[1])

    shorter, longer = sorted((first, second))
    assert rank(shorter) <= rank(longer)
