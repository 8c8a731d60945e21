"""Ringing for the workers from a thread of its own: an acknowledgement never waits for the broker."""

import threading
from collections.abc import Iterable

from orchestrator.services.messages import ring_at_once_for

# Seconds: messages that come close together ring once; a broker that is away is asked again after a while.
_PAUSE, _AWAY = 0.02, 1.0


class Bell:
    """Rings once for an interface, however often it was asked to meanwhile. What a crash leaves, the sweep rings."""

    def __init__(self) -> None:
        self._waiting: set[int] = set()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hl7-bell", daemon=True)
        self._thread.start()

    def ring(self, interface_ids: Iterable[int]) -> None:
        """Soon; returns at once. During a pause it wakes nobody, who would take the processor from the listener."""
        with self._changed:
            self._waiting.update(interface_ids)
            self._changed.notify()

    def stop(self) -> None:
        """End the thread after what it does now; a broker that does not answer is not waited for."""
        self._stopping.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(timeout=_AWAY)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping.is_set())
                interface_ids, self._waiting = self._waiting, set()
            unheard = {each for each in interface_ids if not ring_at_once_for(each)}
            if self._stopping.is_set():
                return
            with self._changed:
                self._waiting |= unheard
            self._stopping.wait(_AWAY if unheard else _PAUSE)
