"""How many SQL queries each page may take: not one more, however many rows there are."""

import json
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from benchmarks.pages import Page, pages_of
from tests.orchestrator.population import populate

PINNED: dict[str, int] = json.loads((Path(__file__).parent / "query_counts.json").read_text())


def _queries(page: Page) -> int:
    with CaptureQueriesContext(connection) as captured:
        answer = page.client.get(page.path, headers=page.headers)
    assert answer.status_code in (200, 304), (page.name, answer.status_code)
    return len(captured)


@pytest.mark.timeout(600)
@pytest.mark.django_db
def test_no_page_asks_the_database_more_often_than_is_pinned() -> None:
    populate()
    counts = {page.name: _queries(page) for page in pages_of()}
    assert counts.keys() == PINNED.keys()
    assert not {name: (PINNED[name], count) for name, count in counts.items() if count > PINNED[name]}
