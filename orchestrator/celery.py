"""The Celery application. Tasks carry row ids only; the rows are the truth (docs/adr/0003)."""

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_before_create_process, worker_ready

from orchestrator.supervisor.loaded import keep_loaded
from orchestrator.supervisor.notify import notify_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")

app = Celery("fiducial")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect
@beat_init.connect
def tell_ready(**_: Any) -> None:
    """`up` and systemd wait for this before they count a worker as started."""
    notify_ready()


@worker_before_create_process.connect
def share_loaded(**_: Any) -> None:
    """The pool's processes are forked of one that has loaded everything."""
    keep_loaded()
