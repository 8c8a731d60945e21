"""`python -m tests.on_each_database [pytest's words…]`: the whole suite on SQLite and then on PostgreSQL.

Stops at the first database on which a test fails. The last line printed is pytest's own closing line. Without
PostgreSQL the first run is all there is, unless peers are required (then its absence is a failure).
"""

import os
import subprocess
import sys

from tests.peers import missing, postgresql, required


def main(words: list[str]) -> int:
    absent = missing("postgresql")
    if absent and required():
        print(f"FIDUCIAL_REQUIRE_PEERS=1, but {absent}")
        return 1
    print(f"tests on SQLite (on PostgreSQL not: {absent})" if absent else "tests on SQLite", flush=True)
    status = _pytest(words, database_url="")
    if absent or status:
        return status
    print("tests on PostgreSQL", flush=True)
    with postgresql() as url:
        return _pytest(words, database_url=url)


def _pytest(words: list[str], *, database_url: str) -> int:
    environment = {**os.environ, "DATABASE_URL": database_url}
    return subprocess.run([sys.executable, "-m", "pytest", *words], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
