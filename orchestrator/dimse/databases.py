"""Database connections that the associations of a listener process share.

An association may last for hours and asks for the database in moments: it has no connection of its own, and to open one
for each moment costs more than what is asked.
"""

import contextlib
import threading
from collections.abc import Iterator

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

# Who comes when so many are lent waits: a server of databases has a limit too, for all who ask it.
_MOST_LENT, _MOST_IDLE = 32, 4


class Databases:
    """Lends a connection to a thread that has none; `django.db.connection` is that one meanwhile."""

    def __init__(self) -> None:
        self._idle: list[BaseDatabaseWrapper] = []
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_MOST_LENT)

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """A database connection for a moment. One that the server has ended meanwhile is opened anew."""
        with self._places, self._lent():
            yield

    @contextlib.contextmanager
    def _lent(self) -> Iterator[None]:
        with self._lock:
            lent = self._idle.pop() if self._idle else None
        if lent is None:
            lent = connections.create_connection(DEFAULT_DB_ALIAS)
            lent.inc_thread_sharing()
        # Django looks whether it is alive when it is first used.
        lent.health_check_enabled, lent.health_check_done = True, False  # type: ignore[attr-defined]  # not in the stubs
        connections[DEFAULT_DB_ALIAS] = lent
        try:
            yield
        finally:
            del connections[DEFAULT_DB_ALIAS]
            self._take_back(lent)

    def _take_back(self, lent: BaseDatabaseWrapper) -> None:
        if not lent.errors_occurred and not lent.in_atomic_block:
            with self._lock:
                if len(self._idle) < _MOST_IDLE:
                    self._idle.append(lent)
                    return
        lent.close()

    def close(self) -> None:
        """Let go of the idle ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for each in idle:
            each.close()


databases = Databases()
