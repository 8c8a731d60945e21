"""Celery's door into routing."""

from celery import shared_task

from routing.services import deliver as delivering


@shared_task
def deliver() -> None:
    delivering.serve_next()
