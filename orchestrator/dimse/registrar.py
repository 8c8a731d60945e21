"""Rows for what the listener made durable: one thread per process, in batches of 100 ms or 200 objects."""

import logging
import queue
import threading
import time
from datetime import UTC, datetime
from itertools import islice

from django.db import IntegrityError, InterfaceError, OperationalError, connection

from orchestrator import storage
from orchestrator.models import Site
from orchestrator.services import studies
from orchestrator.services.exceptions import open_case
from orchestrator.services.registration import Received, register

logger = logging.getLogger(__name__)

BATCH_SECONDS, BATCH_OBJECTS = 0.1, 200
# What waits longer than this in the inbox nobody is about to register.
LEFT_SECONDS = 30.0
# As many as one sweep registers, so that other sweeps have their turn.
LEFT_OBJECTS = 2000
# The database or the disk is away: nothing is wrong with the objects.
_AWAY = (OperationalError, InterfaceError, OSError)


class Registrar:
    """Takes durable objects and the ends of associations, in order."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Received | tuple[str, ...] | None] = queue.Queue()
        self._studies: dict[str, set[str]] = {}
        self._thread = threading.Thread(target=self._run, name="registrar", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Register what waits, then end. What this leaves, the next start's scan registers."""
        self._queue.put(None)
        self._thread.join(8)

    def add(self, received: Received, *, association_id: str, study_instance_uid: str) -> None:
        self._studies.setdefault(association_id, set()).add(study_instance_uid)
        self._queue.put(received)

    def association_ended(self, association_id: str) -> None:
        """Behind the objects of the association, so that their rows are there. May be said twice."""
        if uids := self._studies.pop(association_id, None):
            self._queue.put(tuple(uids))

    def _run(self) -> None:
        running = True
        while running:
            batch, ends, running = self._collect()
            try:
                _close_dead_connection()
                register_all(batch)
                for uids in ends:
                    studies.association_ended(uids)
            except Exception:
                # This thread must not end while the listener goes on answering.
                logger.exception("What failed is left to the sweep and to the quiet time")
        connection.close()

    def _collect(self) -> tuple[list[Received], list[tuple[str, ...]], bool]:
        """What came within a batch's time, or waited already, and whether to go on."""
        batch: list[Received] = []
        ends: list[tuple[str, ...]] = []
        item = self._queue.get()
        end = time.monotonic() + BATCH_SECONDS
        while item is not None:
            if isinstance(item, Received):
                batch.append(item)
            else:
                ends.append(item)
            if len(batch) >= BATCH_OBJECTS:
                return batch, ends, True
            try:
                item = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return batch, ends, True
        return batch, ends, False


def _close_dead_connection() -> None:
    """The thread keeps its connection, whatever its age: opening one costs as much as a batch."""
    if connection.connection is not None and (connection.errors_occurred or not connection.is_usable()):
        connection.close()


def register_all(batch: list[Received]) -> None:
    """Register a batch; when it fails, one by one, so that one bad object does not keep the others waiting.

    While the database is away all of it stays in the inbox, and the sweep tries it again.
    """
    if not batch:
        return
    try:
        _register_twice(batch)
    except _AWAY:
        logger.exception("%d objects stay in the inbox and are tried again", len(batch))
    except Exception:
        logger.exception("A batch of %d objects is registered one by one", len(batch))
        for received in batch:
            _register_alone(received)


def _register_twice(batch: list[Received]) -> None:
    """Again at once when another process wrote the same rows, or waited for ours, at the same moment."""
    try:
        register(batch)
    except (IntegrityError, OperationalError):
        register(batch)


def _register_alone(received: Received) -> None:
    """One object. What the database cannot take now stays in the inbox; what can never be taken is set aside."""
    try:
        _register_twice([received])
    except _AWAY:
        logger.exception("Object %s stays in the inbox and is tried again", received.spool_key)
    except Exception as error:
        logger.exception("Object %s cannot be registered", received.spool_key)
        site = Site.objects.earliest("pk")
        open_case(
            "unreadable_object",
            about=site,
            reason_code="CANNOT_REGISTER",
            summary=f"An object was received and could not be taken in ({type(error).__name__}); its bytes are kept.",
            site=site,
            source=received.calling_ae_title,
            detail={"file": received.spool_key},
        )
        storage.set_aside(received.spool_key)


def register_leftovers() -> None:
    """Sweep: what a listener process that died, or a database that was away, left in the inbox."""
    storage.clear_incoming(older_than=LEFT_SECONDS)
    register_inbox(older_than=LEFT_SECONDS, at_most=LEFT_OBJECTS)


def register_inbox(*, older_than: float = 0.0, at_most: int | None = None) -> int:
    """Register what a crash left in the inbox; answers how many files there were."""
    number = 0
    with storage.scanning_inbox() as alone:
        if alone:
            waiting = islice(storage.waiting(older_than=older_than), at_most)
            while keys := list(islice(waiting, BATCH_OBJECTS)):
                register_all([found for key in keys if (found := _found(key)) is not None])
                number += len(keys)
    return number


def _found(key: str) -> Received | None:
    """None when it was registered meanwhile by who received it."""
    try:
        received_at = datetime.fromtimestamp(storage.path_of(key).stat().st_mtime, tz=UTC)
    except FileNotFoundError:
        return None
    return Received(key, storage.calling_ae_title_of(key), None, received_at)
