"""Celery's doors into the ground. Tasks carry ids and may be lost or doubled without harm."""

import logging

from celery import shared_task
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils.module_loading import import_string

from orchestrator.hl7 import drain
from orchestrator.services import jobs, subscriptions

logger = logging.getLogger(__name__)

_TURN = 2.0
"""Seconds that a worker stays with one interface while others wait."""


@shared_task
def run_subscription(subscription_id: int) -> None:
    subscriptions.run_subscription(subscription_id)


@shared_task
def apply_messages(interface_id: int) -> None:
    drain.apply_messages(interface_id, turn=_TURN)


@shared_task
def run_job(job_id: int) -> None:
    jobs.run_job(job_id)


@shared_task
def sweep() -> None:
    """Ring for all work that is due: what a lost bell, a dead worker or a full broker left behind."""
    for name in settings.SWEEPS:
        try:
            import_string(name)()
        except (OperationalError, InterfaceError) as error:
            # The database is away or busy: one line, not a page every few seconds.
            logger.error("Sweep %s is put off: the database does not answer (%s)", name, type(error).__name__)  # noqa: TRY400
        except Exception:
            # One broken sweep must not starve the others; it is tried again in seconds.
            logger.exception("Sweep %s failed", name)
