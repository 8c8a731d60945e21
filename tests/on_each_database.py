"""`python -m tests.on_each_database [pytest's words…]`: the whole suite, on SQLite and on PostgreSQL.

Four runs side by side, since half of what tests do is waiting for processes and sockets: what is the same on each
database, without a browser and in one (tests/conftest.py), the rest on SQLite, and the rest on PostgreSQL. The first is
told as it goes on, the others when it has ended: the last line printed is pytest's own closing line. Without PostgreSQL
there is one run, unless peers are required (then its absence is a failure).
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.peers import missing, postgresql, required

# pytest's exit code where none was chosen.
_NO_TESTS = 5


class Part(NamedTuple):
    """One run of pytest: what is said of it, its database, and its own words."""

    name: str
    url: str
    words: Sequence[str]


def main(words: Sequence[str]) -> int:
    absent = missing("postgresql")
    if absent and required():
        print(f"FIDUCIAL_REQUIRE_PEERS=1, but {absent}")
        return 1
    if absent:
        print(f"tests on SQLite (on PostgreSQL not: {absent})", flush=True)
        return subprocess.run(_pytest(words), env=_environment(""), check=False).returncode
    with postgresql() as url:
        once = Part("what is the same on each database", "", ["--databases=once"])
        browser = Part("the same, in a browser", "", ["--databases=browser"])
        each = [Part(name, url, ["--databases=each"]) for name, url in (("SQLite", ""), ("PostgreSQL", url))]
        return _side_by_side(words, once, [browser, *each])


def _side_by_side(words: Sequence[str], first: Part, others: Sequence[Part]) -> int:
    """Answers how many failed. The last line is pytest's: of the last part, or of the last one that failed."""
    with tempfile.TemporaryDirectory() as folder:
        logs = {each.name: Path(folder) / each.name for each in others}
        running = {each.name: _start(each, words, logs[each.name]) for each in others}
        print(f"tests: {first.name}", flush=True)
        try:
            code, line = _told(_start(first, words))
            ends = [(first.name, code, line)]
            for name, process in running.items():
                code = process.wait()
                told = logs[name].read_text()
                print(f"tests: {name}\n{told}", end="", flush=True)
                ends.append((name, code, told.rstrip().rpartition("\n")[2]))
        finally:
            for process in running.values():
                process.kill()
    if all(code == _NO_TESTS for _, code, _ in ends):
        return _NO_TESTS
    failed = [(name, line) for name, code, line in ends if code not in (0, _NO_TESTS)]
    for name, line in failed:
        if name != ends[-1][0]:
            print(f"failed: {name}\n{line}", flush=True)
    return len(failed)


def _start(part: Part, words: Sequence[str], log: Path | None = None) -> "subprocess.Popen[bytes]":
    with log.open("w") if log else contextlib.nullcontext(subprocess.PIPE) as told:
        return subprocess.Popen(
            _pytest([*part.words, *words]), env=_environment(part.url), stdout=told, stderr=subprocess.STDOUT
        )


def _told(process: "subprocess.Popen[bytes]") -> tuple[int, str]:
    """What it prints, as it prints it; how it ended, and its last line."""
    last = b""
    with process:
        assert process.stdout is not None
        for last in process.stdout:
            sys.stdout.buffer.write(last)
            sys.stdout.flush()
    return process.returncode, last.decode(errors="replace").rstrip()


def _environment(url: str) -> dict[str, str]:
    """Python keeps what it has compiled: tests start a hundred processes, and each would compile the product anew."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "DATABASE_URL": url}


def _pytest(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-u", "-m", "pytest", *words]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
