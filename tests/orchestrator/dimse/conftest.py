"""Fixtures of the tests that need the listener's wire and no database."""

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from pytest_django import Settings

from orchestrator.dimse import server
from orchestrator.dimse.callers import Caller
from tests.orchestrator.dimse.serving import serving


@pytest.fixture
def port(tmp_path: Path, settings: Settings) -> Iterator[int]:
    """A server that lets everybody in."""
    settings.SPOOL_DIR = tmp_path
    with patch.object(server, "identify", return_value=Caller(None, 1)), serving() as number:
        yield number
