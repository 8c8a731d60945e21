"""What every test shares."""

import queue
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.test import override_settings

from orchestrator import audit
from orchestrator.models import AccessEvent

pytest_plugins = ["tests.peer_marks", "tests.browser"]


@pytest.fixture(autouse=True, scope="session")
def _static_files_as_they_lie_in_the_tree() -> Iterator[None]:
    """Pages render without `collectstatic`: no manifest of hashed names, no warning of a missing folder."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with override_settings(STORAGES={**settings.STORAGES, "staticfiles": plain}, WHITENOISE_AUTOREFRESH=True):
        yield


@pytest.fixture(autouse=True)
def _the_recorder_waits_to_be_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The access recorder's thread has no part in a test's transaction: who wants its rows flushes it."""
    waiting: queue.SimpleQueue[AccessEvent] = queue.SimpleQueue()
    monkeypatch.setattr(audit.recorder, "_waiting", waiting)
    monkeypatch.setattr(audit.recorder, "append", waiting.put)
