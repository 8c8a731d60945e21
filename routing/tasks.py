"""Celery's door into routing."""

from celery import shared_task

from routing.services import deliver as delivering


@shared_task
def deliver(delivery_id: int) -> None:
    delivering.deliver(delivery_id)
