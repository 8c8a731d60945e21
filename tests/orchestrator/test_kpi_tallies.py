"""What the database adds up is what adding the tallies one by one gives, by every dimension and for every viewer."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.kpis import counting, figures
from orchestrator.kpis.counting import CLOSING, OPENING, Outcome
from orchestrator.kpis.periods import A_DAY
from orchestrator.kpis.tallies import Judged, Moved, Tallies
from orchestrator.models import WHOLE_DAY, KpiSubject, KpiTally, Role, Site
from orchestrator.permissions import Viewer
from tests.factories import make_site, make_user

FIRST = dt.date(2026, 7, 1)
DIMENSIONS = ("day", *figures.DIMENSIONS)
OUTCOMES: Mapping[str, Sequence[str]] = {
    KpiSubject.STUDY: (Outcome.AUTO, Outcome.PERSON, Outcome.HELD),
    KpiSubject.CASE: (*OPENING, *CLOSING),
    KpiSubject.ORDER: tuple(map(counting.bucket_name, (0, 7, 30, len(counting.EDGES) - 1))),
}


def tallies(subject: str) -> st.SearchStrategy[tuple[Any, ...]]:
    """Subject, hour, day, which site, modality, source, outcome, reason, count; none, too."""
    return st.tuples(
        st.just(subject),
        st.sampled_from([WHOLE_DAY, WHOLE_DAY, 0, 13, 23]),
        st.integers(0, 3).map(lambda number: FIRST + number * A_DAY),
        st.integers(0, 1),
        st.sampled_from(["", "CT", "MR"]),
        st.sampled_from(["", "CT_1", "=' || 1"]),
        st.sampled_from(OUTCOMES[subject]),
        st.sampled_from(["", "NO_ORDER", "TWO_ORDERS"]) if subject == KpiSubject.STUDY else st.just(""),
        st.integers(0, 40),
    )


worlds = st.lists(st.one_of(*map(tallies, OUTCOMES)), min_size=20, max_size=60, unique_by=lambda row: row[:-1])


def _kept(world: list[tuple[Any, ...]], sites: Sequence[Site]) -> list[KpiTally]:
    KpiTally.objects.all().delete()
    names = ("subject", "hour", "day", "site", "modality", "source", "outcome", "reason", "count")
    rows = [dict(zip(names, row, strict=True)) for row in world]
    return KpiTally.objects.bulk_create([KpiTally(**{**row, "site": sites[row["site"]]}) for row in rows])


@pytest.fixture
def sites() -> tuple[Site, Site]:
    return make_site("NORTH"), make_site("SOUTH")


@pytest.mark.django_db
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(worlds, st.integers(0, 3), st.integers(0, 3), st.sampled_from([{}, {"source": "CT_1"}, {"modality": "CT"}]))
def test_what_the_database_adds_up_is_what_the_tallies_give_one_by_one(
    sites: tuple[Site, Site], world: list[tuple[Any, ...]], one: int, other: int, chosen: dict[str, str]
) -> None:
    rows = _kept(world, sites)
    first, last = (FIRST + number * A_DAY for number in sorted((one, other)))
    for site in (None, sites[0]):
        viewer = Viewer.of(make_user(Role.MANAGER, site=site))
        seen = [
            row for row in rows
            if first <= row.day <= last and row.count and (site is None or row.site == site)
            and all(getattr(row, key) == value for key, value in chosen.items())
        ]  # fmt: skip
        asked = Tallies(viewer, chosen, first, last)
        for by in DIMENSIONS:
            key = attrgetter("site_id" if by == "site" else by)
            counted = [row for row in seen if (row.hour == WHOLE_DAY) != (by == "hour")]
            _compare(asked, by, {each: [row for row in counted if key(row) == each] for each in map(key, counted)})


def _compare(asked: Tallies, by: str, parts: Mapping[Any, list[KpiTally]]) -> None:
    def of(subject: KpiSubject) -> dict[Any, list[KpiTally]]:
        found = {key: [row for row in rows if row.subject == subject] for key, rows in parts.items()}
        return {key: rows for key, rows in found.items() if rows}

    def number(rows: list[KpiTally], *outcomes: str) -> int:
        return sum(row.count for row in rows if not outcomes or row.outcome in outcomes)

    judged = {
        key: Judged(number(rows), number(rows, Outcome.AUTO), sum(row.count for row in rows if row.reason))
        for key, rows in of(KpiSubject.STUDY).items()
    }
    assert asked.judged(by) == judged
    reasons: dict[Any, Counter[str]] = defaultdict(Counter)
    for key, rows in of(KpiSubject.STUDY).items():
        for row in rows:
            if row.reason:
                reasons[key][row.reason] += row.count
    assert asked.judged_for_reasons(by) == (judged, reasons)
    assert asked.moved(by) == {
        key: Moved(number(rows, *OPENING), number(rows, *CLOSING)) for key, rows in of(KpiSubject.CASE).items()
    }
    steps: dict[Any, Counter[int]] = defaultdict(Counter)
    for key, rows in of(KpiSubject.ORDER).items():
        for row in rows:
            steps[key][int(row.outcome)] += row.count
    assert asked.durations(by) == steps
