"""Every page and fragment at size: p50 and p95 over HTTP, how many SQL queries it takes, and whose CPU time.

`DATABASE_URL=… python -m benchmarks.portal [--rounds N] [--output FILE]` measures a database that
`benchmarks.population` has filled; `make bench` fills one of its own first.
"""

import argparse
import http.client
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

import django

from benchmarks.cpu import parent_of, used_ms
from benchmarks.ours import ROOT, Installation, broker, installation
from benchmarks.pages import Page
from benchmarks.rounds import OURS, Plan, Row, summary
from tests.peers import free_port

LIST_MS, FRAGMENT_MS = 200.0, 100.0
"""What UI.md promises of a list page and of a fragment."""


def run(plan: Plan, _ours: Installation, folder: Path) -> Iterator[Row]:
    """Fill a database of its own, of `plan.studies`, and measure it: in processes of their own, as Django is set up."""
    filled, output = installation(folder / "portal"), folder / "portal.json"
    environment = {**os.environ, **filled.environment}
    fill = ["-m", "benchmarks.population", "--studies", str(plan.studies)]
    measure = ["-m", "benchmarks.portal", "--rounds", str(plan.page_rounds), "--output", str(output)]
    for words in (fill, measure):
        subprocess.run([sys.executable, *words], env=environment, cwd=ROOT, check=True)
    yield from (Row(**each) for each in json.loads(output.read_text()))


def main() -> None:
    words = argparse.ArgumentParser(prog="python -m benchmarks.portal", description=__doc__)
    words.add_argument("--rounds", type=int, default=20)
    words.add_argument("--output", type=Path)
    words.add_argument("--only", default="", help="pages whose name has this in it")
    chosen = words.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
    django.setup()
    rows = list(_measure(chosen.rounds, chosen.only))
    if chosen.output:
        chosen.output.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def _measure(rounds: int, only: str) -> Iterator[Row]:
    """Print the table as it grows complete; the rows of `make bench`."""
    from django.conf import settings  # Django is set up by `main`
    from django.db import connection, connections

    from benchmarks.pages import pages_of
    from orchestrator.management.commands.web import collect_static_files
    from orchestrator.models import Study

    collect_static_files()
    pages = [page for page in pages_of() if only in page.name]
    queries = {page.name: _queries(page) for page in pages}
    studies, database = Study.objects.count(), _postmaster()
    about = f"{studies:,} studies, {connection.vendor}"
    connections.close_all()
    port = free_port()
    url = os.environ.get("DATABASE_URL", "")
    here = Installation(settings.DATA_DIR, port, free_port(), free_port(), url)
    times: dict[str, list[float]] = {page.name: [] for page in pages}
    spent: dict[str, list[tuple[float, float]]] = {page.name: [] for page in pages}
    with broker(), here.running("web", port) as web:
        for turn in range(rounds + 1):
            for page in pages:
                before = used_ms(web), used_ms(database)
                took = _get(port, page)
                if turn:  # the first one warms the caches
                    times[page.name].append(took)
                    spent[page.name].append((used_ms(web) - before[0], used_ms(database) - before[1]))
    load = os.getloadavg()[0]
    print(
        f"{'page':<46}{'kind':<10}{'p50 ms':>9}{'p95 ms':>9}{'max':>9}{'web CPU':>9}{'db CPU':>9}{'SQL':>6}"
        f"   ({about}, load {load:.1f})"
    )
    for page in pages:
        values, sql = sorted(times[page.name]), queries[page.name]
        p95 = values[math.ceil(0.95 * len(values)) - 1]
        limit = FRAGMENT_MS if page.part else LIST_MS
        late = "  late" if p95 > limit else ""
        web_cpu, db_cpu = (median(of) for of in zip(*spent[page.name], strict=True))
        print(
            f"{page.name:<46}{'fragment' if page.part else 'page':<10}{median(values):>9.1f}{p95:>9.1f}"
            f"{values[-1]:>9.1f}{web_cpu:>9.1f}{db_cpu:>9.1f}{sql:>6}{late}", flush=True,
        )  # fmt: skip
        said = (
            f"{about}, {sql} SQL queries, CPU of web {web_cpu:.1f} ms, of the database {db_cpu:.1f} ms, "
            "one request at a time"
        )
        yield summary(f"portal, {page.name}", OURS, said, "p50", "ms", [median(values), values[0], values[-1]], None)
        yield summary(f"portal, {page.name}", OURS, said, "p95", "ms", [p95], None)


def _queries(page: Page) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        answer = page.ask()
    if answer.status_code not in (200, 304):
        raise RuntimeError(f"{page.name} ({page.path}): {answer.status_code}")
    return len(captured)


def _postmaster() -> int | None:
    """The process above all of PostgreSQL's, when it runs on this machine. SQLite's work is its caller's."""
    from django.db import connection

    if connection.vendor != "postgresql" or connection.settings_dict["HOST"] not in ("", "localhost", "127.0.0.1"):
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return parent_of(cursor.fetchone()[0])


def _get(port: int, page: Page) -> float:
    """Milliseconds from the request's first byte to the answer's last."""
    headers = {**page.headers, "Cookie": f"sessionid={page.client.cookies['sessionid'].value}"}
    method, body = "GET", None
    if page.form is not None:
        token = "a" * 32  # as a browser has it in cookie and header
        headers |= {"Cookie": f"{headers['Cookie']}; csrftoken={token}", "X-CSRFToken": token}
        method, body = "POST", urlencode(page.form)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    started = time.perf_counter()
    connection.request(method, page.path, body, headers)
    answer = connection.getresponse()
    answer.read()
    took = (time.perf_counter() - started) * 1000
    connection.close()
    if answer.status not in (200, 304):
        raise RuntimeError(f"{page.name} ({page.path}): {answer.status}")
    return took


if __name__ == "__main__":
    main()
