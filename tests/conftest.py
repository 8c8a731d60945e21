"""What every test shares."""

import contextlib
import os
import queue
import sqlite3
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection, connections
from django.test import TestCase, override_settings
from pytest_django import DjangoDbBlocker

from orchestrator import audit
from orchestrator.models import AccessEvent

pytest_plugins = ["tests.peer_marks", "tests.browser"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """SQLite in a file, as the product has it. In memory, connections lock each other's tables and wait for nobody.

    Who needs a commit to outlive a power cut starts a process on a database of its own.
    """
    here = connections.settings["default"]
    if here["ENGINE"].endswith("sqlite3"):
        here["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
        here["OPTIONS"]["init_command"] += "PRAGMA synchronous=OFF;"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker, pytestconfig: pytest.Config) -> None:
    """With `--no-migrations`, for a quick look while one works, the rows that migrations make are made all the same."""
    with django_db_blocker.unblock():
        if pytestconfig.getoption("nomigrations"):
            import_module("orchestrator.migrations.0002_first_site").create_first_site(apps, None)
            import_module("routing.migrations.0002_default_rule_set").create_default(apps, None)
        if connection.vendor == "sqlite":
            connection.ensure_connection()
            with contextlib.closing(sqlite3.connect(_migrated(connection.settings_dict["NAME"]))) as copy:
                connection.connection.backup(copy)


def _migrated(database: str) -> Path:
    return Path(database).with_name("migrated.sqlite3")


@pytest.fixture(scope="session")
def migrated(django_db_setup: None) -> Path:
    """A SQLite database as migrations leave it, to be copied into a data folder: cheaper than to migrate one more."""
    return _migrated(connection.settings_dict["NAME"])


@pytest.fixture(autouse=True, scope="session")
def _static_files_as_they_lie_in_the_tree() -> Iterator[None]:
    """Pages render without `collectstatic`: no manifest of hashed names, no warning of a missing folder."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with override_settings(STORAGES={**settings.STORAGES, "staticfiles": plain}, WHITENOISE_AUTOREFRESH=True):
        yield


@pytest.fixture(autouse=True, scope="session")
def _passwords_are_kept_cheaply() -> Iterator[None]:
    """Argon2 is made to take time. tests/orchestrator/test_sign_in.py asks for the product's own."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(autouse=True, scope="session")
def _the_recorder_waits_to_be_flushed() -> Iterator[None]:
    """The access recorder's thread has no part in a test's transaction: who wants its rows flushes it.

    All the time, not during tests alone: what a browser asked last may be answered after its test.
    """

    def append(event: AccessEvent) -> None:
        audit.recorder._waiting.put(event)

    with patch.object(audit.recorder, "append", append):
        yield


@pytest.fixture(autouse=True, scope="session")
def _each_process_remembers_for_itself() -> Iterator[None]:
    """The cache is this process's own: no broker runs, and the runs on two databases must not share counts."""
    with override_settings(CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}):
        yield


@pytest.fixture(autouse=True)
def _nothing_is_left_to_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: queue.SimpleQueue[AccessEvent] = queue.SimpleQueue()
    monkeypatch.setattr(audit.recorder, "_waiting", waiting)


# These run whole processes on a SQLite database of their own, or show how pages look: what they show does not depend on
# the run's database.
_ONCE = (
    "orchestrator/supervisor/", "orchestrator/simulator/", "orchestrator/dimse/test_listener.py",
    "orchestrator/hl7/test_listen_command.py", "orchestrator/test_interrupted_job.py", "benchmarks/", "test_house.py",
)  # fmt: skip
# In a browser a test is about scripts and looks; what the pages read and write, others ask their views.
_BROWSER = ("_in_browser.py", "orchestrator/portal/test_every_page.py")


def _part_of_all(file: Path) -> str | None:
    """The run that all tests of this file belong to, if its name says so."""
    path = file.relative_to(Path(__file__).parent).as_posix()
    if path.startswith("e2e/") or path == "orchestrator/test_upgrade.py":
        # Whole processes on a database of their own that is of the run's kind.
        return "each"
    if path.endswith(_BROWSER):
        return "browser"
    return "once" if path.startswith(_ONCE) else None


def _part(item: pytest.Item) -> str:
    """The run that this test belongs to: what it shows is the same on each database (once, browser), or is not."""
    is_apart = item.get_closest_marker("once") is not None or not _asks_the_database(item)
    return _part_of_all(item.path) or ("once" if is_apart else "each")


def _asks_the_database(item: pytest.Item) -> bool:
    """pytest-django lets no other test at it."""
    fixtures = {"db", "transactional_db"} & set(getattr(item, "fixturenames", ()))
    case = getattr(item, "cls", None)
    is_case = isinstance(case, type) and issubclass(case, TestCase)
    return bool(fixtures) or is_case or item.get_closest_marker("django_db") is not None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--databases",
        choices=("once", "browser", "each"),
        help="only what is the same on each database, only what of that needs a browser, or only the rest"
        " (tests/on_each_database.py runs all)",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A run does not even read the files of which it plays nothing: all of them take seconds."""
    part = config.getoption("databases")
    if part is None or collection_path.suffix != ".py" or not collection_path.is_relative_to(Path(__file__).parent):
        return None
    whole = _part_of_all(collection_path)
    return True if whole not in (part, None) or (part == "browser" and whole is None) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a second database, given as DATABASE_URL, what is the same on each is left out."""
    part = config.getoption("databases") or ("each" if os.environ.get("DATABASE_URL") else "all")
    left_out = [item for item in items if part not in ("all", _part(item))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]
    for item in items:
        if "migrated" in getattr(item, "fixturenames", ()):
            # Without such a mark on any test of a run pytest-django makes no database that could be copied.
            item.add_marker(pytest.mark.django_db)
