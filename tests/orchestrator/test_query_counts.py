"""How many SQL queries each page may take: not one more, however many rows there are."""

import json
from pathlib import Path

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from benchmarks.pages import Page, pages_of
from tests.orchestrator.population import populate

PINNED: dict[str, int] = json.loads((Path(__file__).parent / "query_counts.json").read_text())
FEW, MANY = 300, 1500  # studies in two years: one of today, and two or three
# Of few studies these have nothing to show of some kind, and so nothing to ask about it.
NOTHING_YET = (
    "queue, mine", "REST patients/?name=maria", *(f"{page}, search two common names" for page in
    ("patients", "studies", "orders", "messages", "deliveries")), "search box, two common", "palette, two common",
)  # fmt: skip


def _queries(page: Page) -> int:
    cache.clear()
    with CaptureQueriesContext(connection) as captured:
        answer = page.ask()
    assert answer.status_code in (200, 304), (page.name, answer.status_code)
    return len(captured)


def _counts(studies: int) -> dict[str, int]:
    with transaction.atomic():
        populate(studies)
        counts = {page.name: _queries(page) for page in pages_of()}
        transaction.set_rollback(True)
    return counts


@pytest.mark.once
@pytest.mark.timeout(600)
@pytest.mark.django_db
def test_no_page_asks_the_database_more_often_than_is_pinned_nor_more_often_for_more_rows() -> None:
    few, many = _counts(FEW), _counts(MANY)
    assert few.keys() == many.keys() == PINNED.keys()
    for counts in (few, many):
        assert not {name: (PINNED[name], count) for name, count in counts.items() if count > PINNED[name]}
    more = {name: (few[name], count) for name, count in many.items() if count > few[name]}
    assert not {name: both for name, both in more.items() if not name.startswith(NOTHING_YET)}
