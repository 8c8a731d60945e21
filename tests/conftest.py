"""What every test shares."""

import os
import queue
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from orchestrator import audit
from orchestrator.models import AccessEvent

pytest_plugins = ["tests.peer_marks", "tests.browser"]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker, pytestconfig: pytest.Config) -> None:
    """With `--no-migrations`, for a quick look while one works, the rows that migrations make are made all the same."""
    if pytestconfig.getoption("nomigrations"):
        with django_db_blocker.unblock():
            import_module("orchestrator.migrations.0002_first_site").create_first_site(apps, None)
            import_module("routing.migrations.0002_default_rule_set").create_default(apps, None)


@pytest.fixture(autouse=True, scope="session")
def _static_files_as_they_lie_in_the_tree() -> Iterator[None]:
    """Pages render without `collectstatic`: no manifest of hashed names, no warning of a missing folder."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with override_settings(STORAGES={**settings.STORAGES, "staticfiles": plain}, WHITENOISE_AUTOREFRESH=True):
        yield


@pytest.fixture(autouse=True, scope="session")
def _each_process_remembers_for_itself() -> Iterator[None]:
    """The cache is this process's own: no broker runs, and the runs on two databases must not share counts."""
    with override_settings(CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}):
        yield


@pytest.fixture(autouse=True)
def _the_recorder_waits_to_be_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The access recorder's thread has no part in a test's transaction: who wants its rows flushes it."""
    waiting: queue.SimpleQueue[AccessEvent] = queue.SimpleQueue()
    monkeypatch.setattr(audit.recorder, "_waiting", waiting)
    monkeypatch.setattr(audit.recorder, "append", waiting.put)


# These run whole processes on a SQLite database of their own, or show how pages look: what they show does not depend on
# the run's database.
_ONCE = (
    "orchestrator/supervisor/", "orchestrator/simulator/", "orchestrator/dimse/test_listener.py",
    "orchestrator/hl7/test_listen_command.py", "orchestrator/test_interrupted_job.py", "benchmarks/", "test_house.py",
    "orchestrator/portal/test_every_page.py", "orchestrator/portal/test_components_in_browser.py",
)  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On the second database (tests/on_each_database.py) what is the same on each is left out."""
    if not os.environ.get("DATABASE_URL"):
        return
    here = Path(__file__).parent
    again = [item for item in items if item.path.relative_to(here).as_posix().startswith(_ONCE)]
    config.hook.pytest_deselected(items=again)
    items[:] = [item for item in items if item not in set(again)]
