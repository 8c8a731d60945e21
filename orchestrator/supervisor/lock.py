"""One copy of `up` per data directory."""

import fcntl
import os
import time
from pathlib import Path

_PATIENCE = 10.0
"""Seconds that a killed supervisor's reaper may need to end the processes of its run."""


class AlreadyRunning(Exception):
    """Another `up` works on this data directory."""


def take_lock(path: Path) -> int:
    """Take the lock for as long as the returned descriptor is open, here or in the reaper.

    A copy whose supervisor was killed is not "running": its reaper still holds the lock while it ends the
    processes left behind, and is waited for. Raises AlreadyRunning.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _pid(descriptor)
            if _lives(holder) or time.monotonic() > end:
                os.close(descriptor)
                raise AlreadyRunning(
                    f"Fiducial is already running on {path.parent} (pid {holder}). "
                    "Stop it, or set FIDUCIAL_DATA_DIR to another directory."
                ) from None
            time.sleep(0.1)
        else:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor


def _pid(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _lives(pid: int) -> bool:
    """False for no process and for one that has ended but was not waited for."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"
