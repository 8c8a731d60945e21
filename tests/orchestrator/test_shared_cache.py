"""Counts that all web processes show alike, kept beside the broker; without it pages are as they are, only slower."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.cache import caches
from django.test import Client, override_settings

from orchestrator import settings
from orchestrator.models import Role
from orchestrator.services.shared_cache import SharedCache
from tests import peers
from tests.factories import make_order, make_site, make_study, make_user


def _process(address: str) -> SharedCache:
    """The cache as one more web process has it."""
    written = settings.CACHES["default"]
    return SharedCache([address], {"KEY_PREFIX": written["KEY_PREFIX"], "OPTIONS": written["OPTIONS"]})


@pytest.fixture
def _nobody_listens() -> Iterator[None]:
    """The cache as the product has it, while its broker is away."""
    nowhere = {**settings.CACHES["default"], "LOCATION": [f"redis://127.0.0.1:{peers.free_port()}/0"]}
    with override_settings(CACHES={"default": nowhere}):
        yield


@pytest.mark.peer("redis")
def test_what_one_process_counted_another_shows(tmp_path: Path) -> None:
    with peers.redis(tmp_path) as address:
        one, other = _process(address), _process(address)
        one.set("view-1", (42, 1.5), 60)
        assert other.get("view-1") == [42, 1.5]
        assert other.get_many(["view-1", "view-2"]) == {"view-1": [42, 1.5]}
        assert other.get_or_set("pulse", lambda: {"Images": [1, 2]}, 60) == {"Images": [1, 2]}
        assert one.get_or_set("pulse", lambda: {"Images": [9]}, 60) == {"Images": [1, 2]}
        assert one.get_many([]) == {}
        with pytest.raises(NotImplementedError):
            one.clear()


@pytest.mark.peer("redis")
def test_what_it_held_is_counted_anew_while_it_is_away_and_it_is_asked_seldom(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with peers.redis(tmp_path) as address:
        cache = _process(address)
        cache.set("view-1", 42, 60)
    with caplog.at_level(logging.WARNING):
        assert cache.get("view-1", "anew") == "anew"
        assert cache.get_or_set("view-1", lambda: "counted", 60) == "counted"
        cache.set("view-1", 43, 60)
        assert cache.get_many(["view-1"]) == {}
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "The cache is away, what it held is counted anew"
    ]


@pytest.mark.django_db
@pytest.mark.usefixtures("_nobody_listens")
@pytest.mark.parametrize("path", ["/", "/studies/", "/exceptions/"])
def test_no_page_fails_while_the_broker_is_away(path: str) -> None:
    assert isinstance(caches["default"], SharedCache)
    site = make_site()
    make_study(make_order(site=site), site=site)
    client = Client()
    client.force_login(make_user(Role.ADMINISTRATOR))
    assert client.get(path).status_code == 200


@pytest.mark.django_db
@pytest.mark.usefixtures("_nobody_listens")
def test_saved_views_are_counted_while_the_broker_is_away() -> None:
    make_study(make_order(), identity="HELD")
    client = Client()
    client.force_login(make_user(Role.ADMINISTRATOR))
    client.post("/views/studies/save/?identity=PENDING&site=all", {"name": "To compare"})
    part = {"HX-Request": "true", "HX-Request-Type": "partial"}
    tabs = client.get("/views/studies/?identity=PENDING", headers=part)
    assert [row.get("count") for row in tabs.context["views"]["rows"]] == [None, "1"]


@pytest.mark.parametrize(
    ("broker", "cache"),
    [
        ("redis://:secret@10.0.0.5:6379/3", "redis://:secret@10.0.0.5:6379/3"),
        ("redis+socket:///data/run/valkey.sock?virtual_host=0", "unix:///data/run/valkey.sock?db=0"),
        ("rediss://r/0?ssl_cert_reqs=CERT_REQUIRED", "rediss://r/0?ssl_cert_reqs=required"),
    ],
)
def test_the_cache_is_where_the_broker_is(broker: str, cache: str) -> None:
    assert settings._cache_address(broker) == cache
