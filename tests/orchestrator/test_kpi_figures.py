"""What the figures say: values, series, splits and what is behind them equal each other, per viewer."""

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import BadRequest, ValidationError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kpis import backlog, counting, figures, words
from orchestrator.kpis.behind import count_behind, facts_behind
from orchestrator.kpis.counting import Outcome
from orchestrator.kpis.definitions import DEFINITIONS
from orchestrator.kpis.periods import Period
from orchestrator.models import KpiFact, KpiTarget, Role, Site
from orchestrator.permissions import Viewer
from orchestrator.services import kpi_rollups, kpi_targets
from reconciliation.services.reconcile import HELD_KINDS
from tests.factories import make_site, make_user
from tests.orchestrator.kpi_histories import judged_study, move_case, opened_case, scheduled_order

DAY = dt.date(2026, 7, 6)
NOON = dt.datetime(2026, 7, 6, 12, tzinfo=dt.UTC)
WEEK = Period(DAY - dt.timedelta(days=6), DAY)
A_DAY = dt.timedelta(days=1)


def viewer(role: Role = Role.MANAGER, site: Site | None = None) -> Viewer:
    return Viewer.of(make_user(role, site=site))


def test_the_kinds_of_a_mismatch_are_those_that_reconciliation_opens() -> None:
    assert counting.IDENTITY_KINDS == HELD_KINDS


@given(st.floats(min_value=1e-6, max_value=1e7))
def test_a_duration_is_in_the_step_that_ends_at_or_above_it(seconds: float) -> None:
    bucket = counting.bucket_of(seconds)
    last = len(counting.EDGES) - 1
    assert 0 <= bucket <= last
    assert seconds <= counting.EDGES[bucket] or bucket == last
    assert not bucket or seconds > counting.EDGES[bucket - 1]


def test_no_step_is_more_than_a_third_above_the_one_before() -> None:
    assert all(1 < later / edge <= 4 / 3 + 1e-9 for edge, later in pairwise(counting.EDGES))
    assert {1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 86400.0} <= set(counting.EDGES)
    assert len(counting.bucket_name(len(counting.EDGES) - 1)) == 3


@given(st.lists(st.floats(min_value=0.001, max_value=1e5), min_size=1, max_size=60), st.sampled_from([0.5, 0.95]))
def test_a_percentile_of_steps_is_the_step_of_the_exact_one(durations: list[float], share: float) -> None:
    buckets: dict[int, int] = {}
    for each in durations:
        buckets[counting.bucket_of(each)] = buckets.get(counting.bucket_of(each), 0) + 1
    exact = sorted(durations)[max(-(-int(share * 100) * len(durations) // 100), 1) - 1]
    assert counting.percentile(buckets, share) == counting.EDGES[counting.bucket_of(exact)]


def test_a_rate_of_nothing_is_no_rate() -> None:
    assert counting.rate(0, 0) is None
    assert counting.percentile({}, 0.95) is None
    assert (counting.rate(0, 4), counting.rate(3, 4)) == (0.0, 75.0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12), st.integers(0, 50))
def test_a_backlog_goes_back_by_what_was_opened_and_settled_since(days: list[tuple[int, int]], before: int) -> None:
    forward = []
    for opened, closed in days:
        before += opened - closed
        forward.append(before)
    assert counting.backlog(forward[-1], days) == forward


def test_the_two_days_of_one_moment_are_those_of_its_sites() -> None:
    late = dt.datetime(2026, 7, 5, 23, 30, tzinfo=dt.UTC)
    fact = counting.Fact(late, late, 1, "CT", "CT_1", Outcome.AUTO)
    assert fact.local(ZoneInfo("Europe/Berlin")) == (dt.date(2026, 7, 6), 1)
    assert fact.local(ZoneInfo("America/New_York")) == (dt.date(2026, 7, 5), 19)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0421, "42 ms"),
        (0.9996, "1.0 s"),
        (1.1, "1.1 s"),
        (59.97, "1 min 00"),
        (119.7, "2 min 00"),
        (380, "6 min 20"),
        (3599.6, "1 h 00"),
        (11_400, "3 h 10"),
        (86_399.7, "1 d 0 h"),
        (187_000, "2 d 3 h"),
    ],
)
def test_a_duration_is_written_as_a_person_says_it(seconds: float, text: str) -> None:
    assert words.span(seconds) == text


@pytest.mark.parametrize(
    ("name", "value", "before", "text"),
    [
        ("auto_match_rate", 97.4, 97.0, "0.4 points better than the 7 days before"),
        ("mismatch_rate", 3.0, 2.5, "0.5 points worse than the 7 days before"),
        ("exception_backlog", 42.0, 30.0, "12 more than the 7 days before"),
        ("order_to_worklist", 1.1, 1.1, "as in the 7 days before"),
        ("mismatch_rate", None, 2.5, "nothing to compare with in the 7 days before"),
    ],
)
def test_a_change_is_told_in_words(name: str, value: float | None, before: float, text: str) -> None:
    assert words.compared(DEFINITIONS[name], value, before, 7) == text


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("x", ""), ("2026-07-06", "2026-07-05"), ("2020-01-01", "2026-01-01"), ("0001-01-01", "0001-01-03"),
        ("0010-01-01", "0010-01-07"), ("9999-12-25", "9999-12-31"), ("", "0001-01-03"),
    ],
)  # fmt: skip
def test_a_period_that_is_none_is_refused(first: str, last: str) -> None:
    with pytest.raises(BadRequest):
        Period.of(first, last)


def _ward() -> tuple[Site, Site]:
    """Two sites: at the first 3 of 4 studies by rule, one of them late; at the second one that is held."""
    north, south = make_site("NORTH"), make_site("SOUTH")
    for _ in range(2):
        judged_study("matched", at=NOON, site=north)
    judged_study("held", "matched", at=NOON - A_DAY, site=north, by="auto")
    judged_study("held", "matched", at=NOON - A_DAY, site=north, by="person", modality="MR")
    judged_study("held", at=NOON, site=south, calling_ae_title="MR_S")
    for seconds, site in ((0.2, north), (0.4, north), (9.0, north), (0.3, south)):
        scheduled_order(seconds, at=NOON, site=site)
    kpi_rollups.rebuild()
    return north, south


@pytest.mark.django_db
def test_rates_say_of_how_many_and_their_parts_add_up() -> None:
    _ward()
    auto = figures.figure(viewer(), "auto_match_rate", WEEK)
    assert (auto.whole.value, auto.whole.numerator, auto.whole.denominator) == (60.0, 3, 5)
    assert auto.series[DAY].value == pytest.approx(200 / 3)
    assert auto.series[DAY - 3 * A_DAY].value is None
    for by in ("site", "modality", "source", "hour"):
        split = figures.figure(viewer(), "mismatch_rate", WEEK, by=by).breakdown.values()
        assert sum(value.numerator for value in split) == 3
        assert sum(value.denominator or 0 for value in split) == 5
    reasons = figures.figure(viewer(), "mismatch_rate", WEEK, by="reason").breakdown
    assert {key: (value.value, value.numerator) for key, value in reasons.items()} == {"NO_ORDER": (60.0, 3)}


@pytest.mark.django_db
def test_order_to_worklist_is_the_p95_of_the_steps_and_counts_those_within_the_target() -> None:
    _ward()
    found = figures.figure(viewer(), "order_to_worklist", WEEK)
    assert found.whole.value == 10.0
    assert (found.whole.numerator, found.whole.denominator) == (3, 4)
    assert found.aside == 0.3
    assert found.missed


@pytest.mark.django_db
def test_an_order_within_the_target_is_never_judged_slower_than_it() -> None:
    slow = scheduled_order(5.1, at=NOON - A_DAY, site=make_site("NORTH"))
    for seconds in (4.9, 5.0):
        scheduled_order(seconds, at=NOON, site=make_site("NORTH"))
    kpi_rollups.rebuild()
    who, today = viewer(), Period(DAY, DAY)
    found = figures.figure(who, "order_to_worklist", today)
    assert (found.whole, found.missed) == (figures.Value(5.0, 2, 2), False)
    assert facts_behind(who, "order_to_worklist", today, {"counted": "rest"}).count() == 0
    rest = facts_behind(who, "order_to_worklist", WEEK, {"counted": "rest"})
    assert [fact.subject_id for fact in rest] == [slow.pk]


@pytest.mark.django_db
def test_what_is_behind_a_number_is_as_many_as_it_says() -> None:
    _ward()
    who = viewer()
    for name in ("auto_match_rate", "mismatch_rate", "order_to_worklist"):
        found = figures.figure(who, name, WEEK)
        counts = {side: facts_behind(who, name, WEEK, {"counted": side}).count() for side in ("", "numerator", "rest")}
        assert counts == {
            "": found.whole.denominator,
            "numerator": found.whole.numerator,
            "rest": (found.whole.denominator or 0) - found.whole.numerator,
        }
        by_day = facts_behind(who, name, WEEK, {"day": DAY.isoformat()}).count()
        assert by_day == found.series[DAY].denominator


@pytest.mark.django_db
def test_how_many_are_behind_a_number_is_told_by_the_tallies_as_by_the_facts() -> None:
    north, south = _ward()
    move_case(opened_case(at=NOON - 3 * A_DAY), "resolved", at=NOON - 2 * A_DAY)
    kpi_rollups.rebuild()
    places = {"modality": "MR"}, {"source": "MR_S"}, {"site": str(north.pk)}, {"reason": "NO_ORDER"}
    times: tuple[dict[str, str], ...] = (
        {},
        {"day": DAY.isoformat()},
        {"hour": "12"},
        {"day": DAY.isoformat(), "modality": "MR"},
    )
    for who in (viewer(), viewer(site=south)):
        for name in DEFINITIONS:
            for side in ("opened", "settled") if name == "exception_backlog" else ("", "numerator", "rest"):
                for chosen in (*places, *times):
                    asked = {**chosen, "counted": side}
                    number = count_behind(who, name, WEEK, asked)
                    assert number == facts_behind(who, name, WEEK, asked).count(), (name, asked)
    assert count_behind(viewer(), "exception_backlog", WEEK, {}) is None


@pytest.mark.django_db
def test_a_figure_in_other_parts_is_the_one_that_is_made_by_them() -> None:
    _ward()
    opened_case(at=NOON - 3 * A_DAY)
    kpi_rollups.rebuild()
    who, dimensions = viewer(), ("site", "modality", "source", "reason")
    found = figures.figures(who, DEFINITIONS, WEEK, by=dimensions)
    for name in DEFINITIONS:
        for by in dimensions:
            alone, among = figures.figure(who, name, WEEK, by=by), found[name].split_by(by)
            assert among == replace(alone, splits=found[name].splits)
            assert (among.breakdown, among.reasons) == (alone.breakdown, alone.reasons)


@pytest.mark.django_db
def test_what_is_behind_a_backlog_is_what_was_open_and_behind_its_moves_what_moved() -> None:
    _ward()
    first, second = (opened_case(at=NOON - days * A_DAY) for days in (5, 3))
    move_case(first, "resolved", at=NOON - 4 * A_DAY)
    move_case(second, "dismissed", at=NOON - 2 * A_DAY)
    move_case(second, "reopened", at=NOON - A_DAY)
    kpi_rollups.rebuild()
    who = viewer()
    found = figures.figure(who, "exception_backlog", WEEK)

    def number(**asked: str) -> int:
        return facts_behind(who, "exception_backlog", WEEK, asked).count()

    assert number() == found.whole.numerator > 1
    assert {day: number(day=day.isoformat()) for day in WEEK.days} == {
        day: value.numerator for day, value in found.series.items()
    }
    for side, place in (("opened", 0), ("settled", 1)):
        assert {day: number(day=day.isoformat(), counted=side) for day in WEEK.days} == {
            day: flow[place] for day, flow in found.flows.items()
        }
        assert number(counted=side) == sum(flow[place] for flow in found.flows.values()) > 1


@pytest.mark.django_db
def test_who_looks_after_one_site_counts_that_site_only() -> None:
    north, south = _ward()
    theirs = viewer(site=south)
    found = figures.figure(theirs, "auto_match_rate", WEEK)
    assert (found.whole.numerator, found.whole.denominator, list(found.breakdown)) == (0, 1, [south.pk])
    assert facts_behind(theirs, "mismatch_rate", WEEK, {}).count() == 1
    assert facts_behind(theirs, "mismatch_rate", WEEK, {"site": str(north.pk)}).count() == 0
    assert figures.figure(viewer(Role.READER), "auto_match_rate", WEEK).whole.value is None


@pytest.mark.django_db
def test_the_backlog_of_any_past_day_with_its_ages() -> None:
    today = timezone.localdate()
    noon = timezone.make_aware(dt.datetime.combine(today, dt.time())) - dt.timedelta(hours=12)
    first, second, third = (opened_case(at=noon - days * A_DAY) for days in (5, 3, 1))
    move_case(first, "resolved", at=noon - 4 * A_DAY)
    move_case(second, "dismissed", at=noon - 2 * A_DAY)
    move_case(second, "reopened", at=noon)
    kpi_rollups.rebuild()
    who, period = viewer(), Period(today - 6 * A_DAY, today)
    found = figures.figure(who, "exception_backlog", period, by="reason")
    assert [value.numerator for value in found.series.values()] == [1, 0, 1, 0, 1, 2, 2]
    assert found.breakdown["no_route"].numerator == 2
    assert found.flows[today - A_DAY] == (1, 0)
    then = Period(today - 4 * A_DAY, today - 4 * A_DAY)
    past = figures.figure(who, "exception_backlog", then)
    assert (past.whole.numerator, sum(past.breakdown[key].numerator for key in past.breakdown)) == (1, 1)
    assert past.aside == dt.timedelta(hours=12).total_seconds()
    assert backlog.ages(who, then, 1, {}) == [0, 0, 0, 1, 0, 0, 0]
    assert [fact.subject_id for fact in facts_behind(who, "exception_backlog", then, {})] == [second.pk]
    still = facts_behind(who, "exception_backlog", period, {})
    assert backlog.ages(who, period, 2, {}) == _aged(still, today, timezone.now())
    assert third.pk in {fact.subject_id for fact in facts_behind(who, "exception_backlog", period, {})}


@pytest.mark.django_db
@pytest.mark.parametrize("clock", ["UTC", "America/Los_Angeles", "Pacific/Kiritimati"])
def test_a_past_backlog_is_that_of_the_sites_days_whoever_looks(clock: str) -> None:
    """Cases of sites at both ends of the world, opened every few hours and settled a day and a half later."""
    now = timezone.now()
    for zone in ("America/Los_Angeles", "Pacific/Kiritimati"):
        site = _site_in(zone)
        for hours in range(5, 200, 15):
            case = opened_case(at=now - dt.timedelta(hours=hours), site=site)
            if hours > 40:
                move_case(case, "resolved", at=now - dt.timedelta(hours=hours - 36))
    kpi_rollups.rebuild()
    who = viewer()
    with timezone.override(clock):
        today = timezone.localdate()
        period = Period(today - 5 * A_DAY, today)
        found = figures.figure(who, "exception_backlog", period)
        for day, value in found.series.items():
            then = Period(day, day)
            whole = figures.figure(who, "exception_backlog", then)
            listed = facts_behind(who, "exception_backlog", period, {"day": day.isoformat()})
            assert whole.whole == value
            assert listed.count() == value.numerator == sum(part.numerator for part in whole.breakdown.values())
            assert backlog.ages(who, then, value.numerator, {}) == _aged(listed, day, now)
            if day < today:
                assert set(listed) == _open_when_the_day_ended(day)


def _site_in(zone: str) -> Site:
    return Site.objects.create(code=zone[:8], name=zone, time_zone=zone)


def _aged(facts: Iterable[KpiFact], day: dt.date, now: dt.datetime) -> list[int]:
    """How old they were at the end of the day at their site, or are now, one by one."""
    today = timezone.localdate()
    numbers = [0] * (len(backlog.AGES) + 1)
    for fact in facts:
        end = dt.datetime.combine(day + A_DAY, dt.time(), ZoneInfo(fact.site.time_zone))
        numbers[bisect_right(backlog.AGES, ((now if day == today else min(end, now)) - fact.at).total_seconds())] += 1
    return numbers


def _open_when_the_day_ended(day: dt.date) -> set[KpiFact]:
    """By the clock of each case's own site, one by one."""

    def ended(fact: KpiFact, moment: dt.datetime) -> bool:
        return moment.astimezone(ZoneInfo(fact.site.time_zone)).date() <= day

    facts = KpiFact.objects.filter(subject="case", outcome__in=counting.OPENING).select_related("site")
    return {fact for fact in facts if ended(fact, fact.at) and not (fact.until and ended(fact, fact.until))}


@pytest.mark.django_db
def test_how_old_cases_were_is_reckoned_to_the_end_of_the_day_at_their_site() -> None:
    day = timezone.localdate() - 3 * A_DAY
    for zone, hours in (("America/Los_Angeles", 2), ("Pacific/Kiritimati", 5)):
        midnight = dt.datetime.combine(day + A_DAY, dt.time(), ZoneInfo(zone))
        opened_case(at=midnight - dt.timedelta(hours=hours), site=_site_in(zone))
    kpi_rollups.rebuild()
    who, then = viewer(), Period(day, day)
    assert backlog.ages(who, then, 2, {}) == [0, 1, 1, 0, 0, 0, 0]
    assert figures.figure(who, "exception_backlog", then).aside == 5 * 3600
    assert backlog.age_at(who, then, 0.5, 2, {}) == 2 * 3600


@pytest.mark.django_db
def test_a_target_is_kept_with_who_set_it_and_why() -> None:
    kpi_targets.set_target(name="mismatch_rate", value=3.0, reason="as agreed")
    kpi_targets.set_target(name="mismatch_rate", value=3.0, reason="again")
    assert figures.targets()["mismatch_rate"] == 3.0
    assert [row.history_change_reason for row in KpiTarget.history.all()] == ["as agreed"]
    with pytest.raises(ValidationError):
        kpi_targets.set_target(name="mismatch_rate", value=101.0, reason="too much")
    with pytest.raises(ValidationError):
        kpi_targets.set_target(name="happiness", value=1.0, reason="none")
    with pytest.raises(ValidationError, match="choose 4 or 5 s"):
        kpi_targets.set_target(name="order_to_worklist", value=4.5, reason="none is counted so")
    assert kpi_targets.KPI_TARGETS.write() == [{"name": "mismatch_rate", "value": 3.0}]
