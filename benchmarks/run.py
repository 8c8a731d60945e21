"""`python -m benchmarks.run [--tiny] [--only NAME …] [--output FILE]`: the table here, and JSON in the file."""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import django
from django.core.management import call_command
from django.db import connections

from benchmarks import forward, goals, hl7, ingest, latency, match, memory, portal, worklist
from benchmarks.ours import Installation, installation
from benchmarks.rounds import TINY, Plan, Row, table
from tests.peers import missing

RESULTS = Path(__file__).parent / "results"
BENCHMARKS: Mapping[str, Callable[[Plan, Installation, Path], Iterable[Row]]] = {
    # First: what the others leave behind is work for the workers that this one starts.
    "latency": latency.run,
    "ingest": ingest.run,
    "worklist": worklist.run,
    "hl7": hl7.run,
    "forward": forward.run,
    "portal": portal.run,
    "match": match.run,
    "memory": memory.run,
}


def main() -> None:
    words = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    words.add_argument("--tiny", action="store_true", help="a few objects each: shows that it works, not how fast")
    words.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    words.add_argument("--output", type=Path, default=RESULTS / "latest.json")
    words.add_argument("--studies", type=int, help="how many the portal's pages are measured with")
    chosen = words.parse_args()
    for peer in ("dcmtk", "orthanc"):
        if reason := missing(peer):
            print(f"left out: {reason}")
    RESULTS.mkdir(exist_ok=True)
    # Beside the results and not in /tmp, which may be memory: there fsync costs nothing.
    with tempfile.TemporaryDirectory(prefix="work-", dir=RESULTS) as folder:
        rows, failed = _run(_plan(tiny=chosen.tiny, studies=chosen.studies), chosen.only, Path(folder))
    chosen.output.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(f"{table(rows, goals.verdict)}\nwritten: {chosen.output}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _plan(*, tiny: bool, studies: int | None) -> Plan:
    plan = TINY if tiny else Plan()
    return replace(plan, studies=studies) if studies else plan


def _run(plan: Plan, names: Sequence[str], folder: Path) -> tuple[list[Row], list[str]]:
    """What was measured, and the benchmarks that failed: the others' rows are not lost with them."""
    ours = installation(folder / "data")
    # Before the settings are read: steps are scheduled, and objects sent, from this process.
    os.environ.update(ours.environment)
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    connections.close_all()
    rows: list[Row] = []
    failed: list[str] = []
    begun = time.monotonic()
    for name in (each for each in BENCHMARKS if each in names):
        started = time.monotonic()
        if started - begun > 60 * plan.minutes:
            print(f"left out after {plan.minutes:g} minutes: {name}")
            continue
        try:
            rows.extend(BENCHMARKS[name](plan, ours, folder))
        except Exception:  # whatever it was: it is shown, and the run ends as failed
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return rows, failed


if __name__ == "__main__":
    main()
