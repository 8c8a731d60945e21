"""What every test shares."""

import pytest
from pytest_django import Settings

pytest_plugins = ["tests.peer_marks"]


@pytest.fixture(autouse=True)
def _static_files_as_they_lie_in_the_tree(settings: Settings) -> None:
    """Pages render without `collectstatic`: no manifest of hashed names, no warning of a missing folder."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
    settings.WHITENOISE_AUTOREFRESH = True
