"""How many SQL queries each page may take: not one more, however many rows there are."""

import json
from pathlib import Path

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import resolve

from benchmarks.pages import Page, pages_of
from tests.orchestrator.doors import PAGES
from tests.orchestrator.population import populate

PINNED: dict[str, int] = json.loads((Path(__file__).parent / "query_counts.json").read_text())
FEW, MANY = 300, 1500  # studies in two years: one of today, and two or three
# Of few studies these have nothing to show of some kind, and so nothing to ask about it.
NOTHING_YET = (
    "queue, mine", "worklist, one station", "REST patients/?name=maria",
    "search box, two common", "palette, two common",
    *(f"{page}, search two common names" for page in ("patients", "studies", "orders", "messages", "deliveries")),
)  # fmt: skip


# What has one row or none to show, or asks about one: no rows make it slower.
FORMS_OF_ONE = frozenset({
    "healthz", "readyz", "login/", "password/", "views/<str:page>/save/", "views/<str:page>/<int:pk>/edit/",
    "views/<str:page>/<int:pk>/delete/", "interfaces/callers/<int:pk>/introduce/", "messages/<int:pk>/replay/",
    "messages/<int:pk>/dismiss/", "users/add/", "users/<int:pk>/roles/add/", "users/<int:pk>/switch/",
    "users/roles/<int:pk>/remove/", "kpis/<slug:name>/target/", "destinations/add/", "destinations/<int:pk>/presence/",
    "destinations/<int:pk>/edit/", "destinations/<int:pk>/pause/", "destinations/<int:pk>/resume/",
    "deliveries/<int:pk>/retry/", "deliveries/<int:pk>/cancel/", "routing/presence/", "routing/rules/<int:position>/",
    "routing/rules/<int:position>/remove/", "routing/versions/<int:number>/back/",
    *(f"exceptions/<int:pk>/{act}/" for act in ("take-over", "hand-back", "snooze", "escalate", "dismiss")),
})  # fmt: skip


def _queries(page: Page) -> int:
    cache.clear()
    with CaptureQueriesContext(connection) as captured:
        answer = page.ask()
    assert answer.status_code in (200, 304), (page.name, answer.status_code)
    return len(captured)


def _counts(studies: int) -> tuple[dict[str, int], set[str]]:
    """How many queries each page took, and which routes they are."""
    with transaction.atomic():
        populate(studies)
        pages = pages_of()
        counts = {page.name: _queries(page) for page in pages}
        transaction.set_rollback(True)
    return counts, {resolve(page.path.partition("?")[0]).route for page in pages}


@pytest.mark.once
@pytest.mark.timeout(600)
@pytest.mark.django_db
def test_no_page_asks_the_database_more_often_than_is_pinned_nor_more_often_for_more_rows() -> None:
    (few, _), (many, routes) = _counts(FEW), _counts(MANY)
    # A page that is new is pinned, or named above.
    assert {route for route, asks in PAGES.items() if "GET" in asks} - routes == FORMS_OF_ONE
    assert few.keys() == many.keys() == PINNED.keys()
    for counts in (few, many):
        assert not {name: (PINNED[name], count) for name, count in counts.items() if count > PINNED[name]}
    more = {name: (few[name], count) for name, count in many.items() if count > few[name]}
    assert not {name: both for name, both in more.items() if not name.startswith(NOTHING_YET)}
