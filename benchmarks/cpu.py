"""CPU time that processes have used: says more of a page than its time, while others use the same machine."""

import os
from collections.abc import Iterator
from pathlib import Path

_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    try:
        children = [task.joinpath("children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return
    for child in " ".join(children).split():
        yield from family(int(child))


def used_ms(parent: int | None) -> float:
    """Of a process, all below it, and those below it that have ended (their times are told in steps of 10 ms)."""
    if parent is None:
        return 0
    return sum(_of_threads(pid) for pid in family(parent)) + _of_ended(parent)


def _of_threads(pid: int) -> float:
    total = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    except OSError:  # ended meanwhile
        return 0
    return total / 1e6


def _of_ended(pid: int) -> float:
    return sum(map(int, _stat(pid)[13:15])) * _TICK_MS


def parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    """Numbers of /proc/PID/stat from the third on (proc(5)): state, parent, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
