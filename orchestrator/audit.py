"""Access to PHI is recorded: rows appended in batches, off the request's own transaction (promise 12)."""

import atexit
import logging
import queue
import threading
from typing import Protocol

from django.db import Error, connection
from django.utils import timezone

from orchestrator.models import AccessEvent

logger = logging.getLogger(__name__)

BATCH_SECONDS = 0.5
BATCH_ROWS = 200


class Looker(Protocol):
    """Who looks: a `permissions.Viewer`, of which the record needs no more than this."""

    @property
    def user_id(self) -> int: ...
    @property
    def user_name(self) -> str: ...


class _Recorder:
    """Collects access events and writes them from one thread per process.

    What a `kill -9` can lose is bounded by BATCH_SECONDS; a clean stop loses nothing.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[AccessEvent] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def append(self, event: AccessEvent) -> None:
        self._waiting.put(event)
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="access-recorder", daemon=True)
                self._thread.start()
                atexit.register(self.finish)

    def _run(self) -> None:
        tick = threading.Event()
        while True:
            tick.wait(BATCH_SECONDS)
            self.finish()
            connection.close()

    def flush(self) -> bool:
        """Write a batch of what waits; whether there was one. Rows that cannot be written now are kept for later."""
        batch: list[AccessEvent] = []
        while not self._waiting.empty() and len(batch) < BATCH_ROWS:
            batch.append(self._waiting.get())
        if not batch:
            return False
        try:
            AccessEvent.objects.bulk_create(batch)
        except Error:
            logger.exception("%d access events are kept and tried again", len(batch))
            for event in batch:
                self._waiting.put(event)
            return False
        return True

    def finish(self) -> None:
        """Write all that waits."""
        while self.flush():
            pass


recorder = _Recorder()


def record_access(
    viewer: Looker,
    action: str,
    subject_type: str,
    *,
    subject_id: str = "",
    address: str | None = None,
    number_of_records: int = 1,
) -> None:
    """Note that the viewer saw (or changed) something that carries PHI. `subject_id` is an opaque id of ours."""
    recorder.append(
        AccessEvent(
            at=timezone.now(),
            user_id=viewer.user_id or None,
            user_name=viewer.user_name,
            action=action,
            subject_type=subject_type,
            subject_id=subject_id,
            address=address,
            number_of_records=number_of_records,
        )
    )
