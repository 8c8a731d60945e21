"""`python -m tests.with_postgresql COMMAND…`: run a command with DATABASE_URL of a fresh PostgreSQL.

Ends with the command's own exit status and prints nothing after it.
"""

import os
import subprocess
import sys

from tests.peers import postgresql


def main() -> int:
    with postgresql() as url:
        return subprocess.run(sys.argv[1:], env={**os.environ, "DATABASE_URL": url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
