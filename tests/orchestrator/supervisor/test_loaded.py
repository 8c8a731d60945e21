"""What a long-lived process has loaded before it works is not looked through by Python's collector again."""

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings

_OBJECTS = 50_000
"""Django, our models, views and templates are several times as many."""


def _kept(tmp_path: Path, begin: str) -> int:
    """How many objects the collector passes over in a new process after `begin`."""
    program = f"import gc\n{begin}\nprint(gc.get_freeze_count())"
    environment = {
        **os.environ, "DJANGO_SETTINGS_MODULE": "orchestrator.settings", "FIDUCIAL_DATA_DIR": str(tmp_path),
    }  # fmt: skip
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(told.stdout.splitlines()[-1])


def test_the_portal_reads_its_templates_before_it_forks_and_keeps_them(tmp_path: Path) -> None:
    begin = (
        "from django.template import engines\n"
        "import django; django.setup()\n"
        "from orchestrator.management.commands.web import Portal\n"
        "Portal({}).load()\n"
        "loader = engines['django'].engine.template_loaders[0]\n"
        "assert 'reconciliation/exceptions.html' in loader.get_template_cache, list(loader.get_template_cache)"
    )
    assert _kept(tmp_path, begin) > _OBJECTS


def test_a_worker_keeps_what_it_has_loaded_before_it_forks_its_pool(tmp_path: Path) -> None:
    begin = (
        "from celery.signals import worker_before_create_process\n"
        "from orchestrator.celery import app\n"
        "app.loader.import_default_modules()\n"
        "worker_before_create_process.send(sender=None)"
    )
    assert _kept(tmp_path, begin) > _OBJECTS
