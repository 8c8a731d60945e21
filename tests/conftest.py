"""What every test shares."""

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.test import override_settings

pytest_plugins = ["tests.peer_marks", "tests.browser"]


@pytest.fixture(autouse=True, scope="session")
def _static_files_as_they_lie_in_the_tree() -> Iterator[None]:
    """Pages render without `collectstatic`: no manifest of hashed names, no warning of a missing folder."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with override_settings(STORAGES={**settings.STORAGES, "staticfiles": plain}, WHITENOISE_AUTOREFRESH=True):
        yield
