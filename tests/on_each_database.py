"""`python -m tests.on_each_database [pytest's words…]`: the whole suite, on SQLite and on PostgreSQL.

Three runs side by side, since half of what tests do is waiting for processes and sockets: what is the same on each
database (tests/conftest.py), the rest on SQLite, and the rest on PostgreSQL. The first is told as it goes on, the
others when it has ended: the last line printed is pytest's own closing line. Without PostgreSQL there is one run,
unless peers are required (then its absence is a failure).
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
        each = [Part(name, url, ["--databases=each"]) for name, url in (("SQLite", ""), ("PostgreSQL", url))]
        return _side_by_side(words, once, each)


def _side_by_side(words: Sequence[str], first: Part, others: Sequence[Part]) -> int:
    """Answers how many failed. That one did is said before the next is told: the last line is pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / each.name for each in others]
        running = [_start(each, words, log) for each, log in zip(others, logs, strict=True)]
        try:
            print(f"tests: {first.name}", flush=True)
            codes = [_start(first, words).wait()]
            for each, process, log in zip(others, running, logs, strict=True):
                codes.append(process.wait())
                if codes[-2]:
                    print("tests failed: see above", flush=True)
                print(f"tests on {each.name}\n{log.read_text()}", end="", flush=True)
        finally:
            for process in running:
                process.kill()
    return sum(code != 0 for code in codes)


def _start(part: Part, words: Sequence[str], log: Path | None = None) -> "subprocess.Popen[bytes]":
    with log.open("w") if log else contextlib.nullcontext() as told:
        return subprocess.Popen(
            _pytest([*part.words, *words]), env=_environment(part.url), stdout=told, stderr=subprocess.STDOUT
        )


def _environment(url: str) -> dict[str, str]:
    """Python keeps what it has compiled: tests start a hundred processes, and each would compile the product anew."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "DATABASE_URL": url}


def _pytest(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "pytest", *words]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
