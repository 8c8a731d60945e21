"""The ground: who, what was asked, what was received, what state it is in, what waits for a person."""

from orchestrator.celery import app as celery_app

__all__ = ["celery_app"]
