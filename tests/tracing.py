"""The system calls of a running process, for tests that prove an order."""

import contextlib
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def tracing(pid: int, calls: str, trace: Path) -> Iterator[None]:
    """The system calls of a process and its threads: which file, which connection, and the first byte."""
    words = ["strace", "-f", "-yy", "-x", "-s", "1", "-e", calls, "-o", str(trace), "-p", str(pid)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        try:
            yield
        finally:
            tracer.terminate()


def course(trace: str, steps: Mapping[str, str]) -> list[str]:
    """What a trace tells, step by step; `steps` are patterns of calls, of which "answered" is what is sent.

    A call of several lines happened where it ended; but what is sent may arrive at once and counts from its beginning.
    """
    told = []
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        thread, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            # As it stands where it is whole.
            call = begun[thread] = call.removesuffix("<unfinished ...>").rstrip() + ")"
            if not re.match(steps["answered"], call):
                continue
        elif call.startswith("<... "):
            call = begun.pop(thread, "")
            if re.match(steps["answered"], call):
                continue
        told += [step for step, pattern in steps.items() if re.match(pattern, call)]
    return told
