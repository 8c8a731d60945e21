"""The only writers of a status: transition, record, publish; and the bell that wakes the workers.

One transaction holds the change, its WorkflowEvent and one Subscription row per subscriber (promise 3).
Nothing reads events by `id >` cursors: ids are not commit order.
"""

import logging
from typing import Any, ClassVar, Protocol, TypeVar

from celery import current_app
from django.conf import settings
from django.db import models, transaction
from kombu.exceptions import OperationalError

from orchestrator.models import Subscription, Work, WorkflowEvent, current_actor, current_reason
from orchestrator.states import MACHINE_OF_EVENT

logger = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Somebody else has the work now: whatever this worker still does must not be written."""


class Subject(Protocol):
    """A row that events are about."""

    pk: Any
    _meta: ClassVar[Any]

    def event_links(self) -> dict[str, int | None]: ...


M = TypeVar("M", bound=models.Model)


@transaction.atomic
def transition(
    subject: M,
    event: str,
    *,
    detail: dict[str, Any] | None = None,
    reason: str = "",
    ours: bool = False,
    **columns: Any,
) -> WorkflowEvent:
    """Move `subject` by `event` (see states.MACHINES), setting `columns` in the same save.

    Locks and re-reads the row, so that two callers cannot both leave the same state; `subject` is refreshed. Nobody
    changes its key: whoever refers to it meanwhile (PostgreSQL looks at the commit) does not wait for this lock.
    `ours`: this transaction has made the row, or locked it when it read it: it is as `subject` says.
    Raises IllegalTransition when the event may not happen now, LeaseLost when `subject` is Work that another
    worker has taken since.
    """
    machine = MACHINE_OF_EVENT[event]
    rows = type(subject)._default_manager.select_for_update(of=("self",), no_key=True)
    locked = subject if ours else rows.get(pk=subject.pk)
    if isinstance(locked, Work) and isinstance(subject, Work) and locked.fence != subject.fence:
        raise LeaseLost(f"{locked} was taken by another worker.")
    before = getattr(locked, machine.field)
    after = machine.next(before, event)
    columns[machine.field] = after
    for name, value in columns.items():
        setattr(locked, name, value)
        setattr(subject, name, value)
    locked.save(update_fields=list(columns))
    return record(event, locked, from_state=before, to_state=after, detail=detail, reason=reason)  # type: ignore[arg-type]  # every machine's model is a Subject


# No savepoint: nobody goes on without the event of what was done.
@transaction.atomic(savepoint=False)
def record(
    name: str,
    subject: Subject,
    *,
    from_state: str = "",
    to_state: str = "",
    detail: dict[str, Any] | None = None,
    reason: str = "",
) -> WorkflowEvent:
    """Write an event about `subject` and owe it to its subscribers. `detail` carries no patient data."""
    actor = current_actor()
    event = WorkflowEvent.objects.create(
        name=name,
        subject_type=subject._meta.model_name,
        subject_id=subject.pk,
        from_state=from_state,
        to_state=to_state,
        actor_kind=actor.kind,
        actor_name=actor.name,
        reason=reason or current_reason(),
        detail=detail or {},
        **subject.event_links(),
    )
    publish(event)
    return event


def publish(event: WorkflowEvent) -> None:
    """One Subscription row per subscriber of the event's name; workers are rung after the commit, but for those that
    are gathered (settings.GATHERED_SUBSCRIBERS).
    """
    for subscriber in settings.EVENT_SUBSCRIBERS.get(event.name, ()):
        queue = settings.SUBSCRIBER_QUEUES.get(subscriber.partition(".")[0], settings.CELERY_TASK_DEFAULT_QUEUE)
        subscription = Subscription.objects.create(
            event_id=event.pk,
            event_name=event.name,
            subject_id=event.subject_id,
            subscriber=subscriber,
            queue=queue,
        )
        if subscriber not in settings.GATHERED_SUBSCRIBERS:
            ring("orchestrator.tasks.run_subscription", subscription.pk, queue=queue)


def ring(task: str, *args: int | str, queue: str | None = None) -> None:
    """Wake a worker after the commit. Only a bell: when the broker is away, the sweep rings again later."""
    transaction.on_commit(lambda: ring_at_once(task, *args, queue=queue))


def ring_at_once(task: str, *args: int | str, queue: str | None = None) -> bool:
    """Wake a worker for what is committed already; False when the broker is away."""
    try:
        current_app.send_task(task, args=args, queue=queue, retry=False)
    except OperationalError as error:
        logger.warning("Broker away, %s is left to the sweep: %s", task, error)
        return False
    return True
