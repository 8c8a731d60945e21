"""An object while it arrives: straight to the spool's file system, and only while there is room."""

import contextlib
import fcntl
import logging
from typing import BinaryIO

from orchestrator import storage

logger = logging.getLogger(__name__)

# Two hundred objects may arrive at once: together they stay far from the end of the reserve.
_LOOK_EVERY_BYTES = 1 << 20


class ArrivingObject:
    """The file that an object's fragments are written to as they come; `head` stands before the first one.

    A sender cannot be told in the middle of an object (PS3.7 9.1.1.2), so what finds no room is taken off the line
    and dropped, the file is emptied, and the handler answers A700 (`Request.path`).
    """

    def __init__(self, head: bytes = b"") -> None:
        self.path = storage.incoming_path()
        self._open: BinaryIO | None = None
        self._head = head
        self._since_look = 0
        self._has_room = False
        try:
            self._open = self.path.open("wb", buffering=0)
            # Who clears up what a crash left sees that somebody is at this one.
            with contextlib.suppress(OSError):
                fcntl.flock(self._open, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._has_room = storage.has_room()
        except OSError:
            logger.exception("The spool cannot be written to: an object is refused with A700")

    def write(self, data: bytes | memoryview) -> None:
        """Take a fragment; it is dropped when there is no room (any more)."""
        if self._head:
            data, self._head = self._head + bytes(data), b""
        self._since_look += len(data)
        if self._has_room and self._since_look >= _LOOK_EVERY_BYTES:
            self._since_look = 0
            self._has_room = storage.has_room()
        if self._has_room and self._open is not None:
            try:
                left = memoryview(data)
                while left:
                    left = left[self._open.write(left) :]
            except OSError:
                logger.exception("The spool cannot be written to: an object is refused with A700")
                self._has_room = False
        if not self._has_room and self._open is not None:
            self._open.truncate(0)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
