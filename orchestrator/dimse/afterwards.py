"""What handlers write down although their peers need not wait for it: one thread per listener process.

Nothing that is acknowledged may go this way: what waits here is lost with its process.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from django.db import connection, transaction

logger = logging.getLogger(__name__)

# Writes all records that it is given.
Write = Callable[[Sequence[Any]], object]
MOST_WAITING = 1000
# Seconds between two transactions. A modality may ask as fast as it is answered: its records must not keep all others
# from writing, and those that come close together are written as one.
_PAUSE = 0.1


class Afterwards:
    """Writes in order, behind the answers, what it is given. Where no listener has started it, at once."""

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._queue: queue.Queue[tuple[Write, Any] | None] = queue.Queue(most_waiting)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._dropped = 0

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="afterwards", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then end; not for ever."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping.set()
            self._queue.put(None, timeout=8)
            thread.join(8)

    def do(self, write: Write, record: object) -> None:
        """Soon. When the database is so slow that too much waits already, never: memory is for associations."""
        if self._thread is None:
            write([record])
            return
        try:
            self._queue.put_nowait((write, record))
        except queue.Full:
            self._dropped += 1

    def _run(self) -> None:
        running = True
        while running:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            running = None not in batch
            self._write([each for each in batch if each is not None])
            self._stopping.wait(_PAUSE)
        connection.close()

    def _write(self, batch: Sequence[tuple[Write, Any]]) -> None:
        """One transaction for all; one by one when that fails, so that a bad one does not take the others with it.

        The thread keeps its connection: opening one costs more than what is written.
        """
        try:
            with transaction.atomic():
                for write, records in groupby(batch, key=itemgetter(0)):
                    write([record for _, record in records])
        except Exception:
            logger.exception("%d records are written one by one", len(batch))
            # The database may have gone meanwhile.
            connection.close()
            for write, record in batch:
                try:
                    write([record])
                except Exception:
                    logger.exception("A record could not be written")
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            logger.warning("The database is slow: %d records of what peers asked were not kept", dropped)


afterwards = Afterwards()
