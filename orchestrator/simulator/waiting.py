"""How the hospital waits: always interruptible, never longer than its patience. And how waiting can end."""

import time
from collections.abc import Iterator
from threading import Event


class Stopped(Exception):
    """The hospital was told to close while something was under way; nothing is to be concluded from it."""


class GaveUp(Exception):
    """The other side did not do in time what it should; the text says what was waited for."""


class Refused(Exception):
    """Fiducial said no, or did what it should not; the text says what."""


def attempts(stop: Event, patience: float, *, first: float = 0.5, longest: float = 8.0) -> Iterator[int]:
    """Yield 1, 2, 3… with a doubling pause (seconds) between, until `patience` seconds have passed.

    Raises Stopped as soon as `stop` is set. A caller that falls out of the loop has run out of patience.
    """
    deadline = time.monotonic() + patience
    pause, attempt = first, 0
    while True:
        if stop.is_set():
            raise Stopped
        attempt += 1
        yield attempt
        if time.monotonic() + pause > deadline:
            return
        rest(stop, pause)
        pause = min(pause * 2, longest)


def rest(stop: Event, seconds: float) -> None:
    """Pause, and raise Stopped when the hospital closes meanwhile."""
    if stop.wait(seconds):
        raise Stopped
