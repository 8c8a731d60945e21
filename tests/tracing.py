"""The system calls of a running process, for tests that prove an order."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def tracing(pid: int, calls: str, trace: Path) -> Iterator[None]:
    """Write the system calls of a process and its threads to `trace`, file names beside the descriptors."""
    words = ["strace", "-f", "-y", "-s", "5", "-e", calls, "-o", str(trace), "-p", str(pid)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        yield
        tracer.terminate()
