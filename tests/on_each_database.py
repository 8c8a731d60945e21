"""`python -m tests.on_each_database [pytest's words…]`: the whole suite on SQLite and on PostgreSQL, side by side.

Half of what tests do is waiting for processes and sockets, so two runs together take little longer than one. What the
run on PostgreSQL says is told when the one on SQLite has ended: the last line printed is pytest's own closing line.
Without PostgreSQL there is one run, unless peers are required (then its absence is a failure).
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.peers import missing, postgresql, required


def main(words: Sequence[str]) -> int:
    absent = missing("postgresql")
    if absent and required():
        print(f"FIDUCIAL_REQUIRE_PEERS=1, but {absent}")
        return 1
    if absent:
        print(f"tests on SQLite (on PostgreSQL not: {absent})", flush=True)
        return subprocess.run(_pytest(words), env=_environment(""), check=False).returncode
    with tempfile.TemporaryDirectory() as folder, postgresql() as url:
        return _side_by_side(words, Path(folder) / "postgresql.log", url)


def _side_by_side(words: Sequence[str], log: Path, url: str) -> int:
    print("tests on SQLite (and on PostgreSQL at the same time: told after it)", flush=True)
    with log.open("w") as told:
        second = subprocess.Popen(_pytest(words), env=_environment(url), stdout=told, stderr=subprocess.STDOUT)
        try:
            first = subprocess.run(_pytest(words), env=_environment(""), check=False)
            second.wait()
        finally:
            second.kill()
    if first.returncode:
        print("tests on SQLite failed: see above", flush=True)
    print("tests on PostgreSQL", flush=True)
    print(log.read_text(), end="", flush=True)
    return first.returncode or second.returncode


def _environment(url: str) -> dict[str, str]:
    """Python keeps what it has compiled: tests start a hundred processes, and each would compile the product anew."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "DATABASE_URL": url}


def _pytest(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "pytest", *words]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
