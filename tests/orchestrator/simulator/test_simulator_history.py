"""History: when its exams are, how their time runs, and what the calendar says of them."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from orchestrator.simulator.almanac import begun_after, ordered_before, seen_at, starts
from orchestrator.simulator.calendar import calendar
from orchestrator.simulator.clock import Clock
from orchestrator.simulator.faults import FAULTS
from orchestrator.simulator.ledger import Entry
from orchestrator.simulator.planner import Planner

NOW = datetime(2026, 11, 27, 15, 20, tzinfo=UTC)  # a Friday


def test_exams_lie_within_the_days_by_the_curve_of_week_and_hours() -> None:
    found = starts(days=28, patients=3000, seed=1, now=NOW)
    assert found == sorted(found)
    assert found[0] >= (NOW - timedelta(days=28)).replace(hour=0, minute=0)
    assert found[-1] <= NOW - timedelta(hours=1)
    assert {each.minute % 5 for each in found} == {0}
    days, hours = Counter(each.weekday() for each in found), Counter(each.hour for each in found)
    assert max(days[5], days[6]) * 2 < min(days[day] for day in range(5))
    assert hours[3] * 3 < hours[10]
    assert found == starts(days=28, patients=3000, seed=1, now=NOW)


@pytest.mark.parametrize("seed", range(40))
def test_ordered_before_it_begins_and_begun_on_its_day(seed: int) -> None:
    rng, late = Random(seed), NOW.replace(hour=23, minute=55)
    assert timedelta(minutes=8) <= ordered_before(rng) <= timedelta(days=4)
    assert (late + begun_after(rng, late)).date() == late.date()


@pytest.mark.parametrize("hour", range(24))
def test_a_case_is_taken_up_after_it_was_opened_and_while_people_are_there(hour: int) -> None:
    opened = NOW.replace(hour=hour)
    seen = seen_at(Random(hour), opened)
    assert opened < seen < opened + timedelta(days=1)
    assert 7 <= seen.hour < 18


def test_an_exams_time_jumps_on_at_its_turns_and_never_back() -> None:
    clock, now = Clock(), datetime.now(UTC)
    assert abs(clock.now() - now) < timedelta(seconds=5)
    clock.turn(now - timedelta(days=9))
    clock.turn(now - timedelta(days=2))
    assert clock.now() - (now - timedelta(days=2)) < timedelta(seconds=5)
    clock.turn(now - timedelta(days=5))
    assert clock.now() >= now - timedelta(days=2), "not back"
    clock.turn(now + timedelta(days=5))
    assert clock.now() <= datetime.now(UTC), "not into the future"
    (first, _), *_, (last, _) = clock.turns
    assert clock.at(first) == clock.turns[0][1]
    assert clock.at(last) == clock.turns[-1][1]


def test_the_calendar_names_everybody_of_an_exam_once_for_all_its_studies() -> None:
    planner = Planner(seed=1, stamp="T", fault_share=1, fault_weights={"wrong_entry_noticed": 1})
    exam = planner.exam(1, NOW, past=True)
    assert exam.fault is FAULTS["wrong_entry_noticed"]
    assert exam.neighbour is not None
    clock = Clock()
    clock.turn(NOW - timedelta(days=1))
    live = Entry(planner.exam(2, NOW), "2.25.3")
    [page] = calendar([Entry(exam, "2.25.1", clock=clock), live, Entry(exam, "2.25.2", clock=clock)])
    assert (page["exam"], page["studies"], len(page["turns"])) == (1, ["2.25.1", "2.25.2"], 1)
    assert {each["value"] for each in page["patients"]} == {exam.person.patient_id, exam.neighbour.person.patient_id}
    assert {each["filler_order_number"] for each in page["orders"]} == {
        exam.order.filler_order_number, exam.neighbour.order.filler_order_number,
    }  # fmt: skip
