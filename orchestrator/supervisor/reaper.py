"""Ends what a killed supervisor leaves behind.

A program of its own (standard library only, started as a file). It reads `+PGID` and `-PGID` lines from the
supervisor; when the pipe closes, because the supervisor ended in whatever way, it ends every process group that
is still on its list: children, their pool workers, all of them. It holds the lock of the data directory meanwhile.
"""

import contextlib
import os
import signal
import sys
import time

_GRACE = 3.0
"""Seconds between asking and killing."""


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    end(groups)


def end(groups: set[int]) -> None:
    """SIGTERM to each group, SIGKILL to those that are still there after the grace time."""
    deadline = time.monotonic() + _GRACE
    left = {group for group in groups if _signal(group, signal.SIGTERM)}
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = {group for group in left if _signal(group, 0)}
    for group in left:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Whether there was such a group of ours."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    main()
