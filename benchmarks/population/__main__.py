"""`python -m benchmarks.population --studies 1000000`: fills the empty database of DATABASE_URL with two years.

Per study: about 11 instances, one claim, 1.3 deliveries with every instance's result, 13 events, 1.5 messages.
History tables and worklist answers (`--worklist` encodes those of the steps that wait) stay empty, and match runs but
for the cases that are due first: no list page reads them, and a case that was never compared is compared when its page
is opened.
"""

import argparse
import os
import sys
import time

import django


def main() -> None:
    words = argparse.ArgumentParser(prog="python -m benchmarks.population", description=__doc__)
    words.add_argument("--studies", type=int, default=20_000)
    words.add_argument("--open-cases", type=int, help="default: one for ten studies")
    words.add_argument("--seed", type=int, default=1)
    chosen = words.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
    django.setup()
    fill(chosen.studies, chosen.open_cases, seed=chosen.seed)


def fill(studies: int, open_cases: int | None = None, *, seed: int = 1) -> None:
    """Migrate and fill the database that Django is set up for. It must hold no patient yet."""
    from django.core.management import call_command

    from benchmarks.population.bulk import without_indexes
    from benchmarks.population.filling import write
    from benchmarks.population.tables import tables
    from orchestrator.models import Patient

    call_command("migrate", interactive=False, verbosity=0)
    if Patient.objects.exists():
        sys.exit("This database holds patients: the population is written into an empty one.")
    started, to = time.monotonic(), tables()
    with without_indexes(list(to.values())):
        for done in write(to, studies=studies, open_cases=open_cases, seed=seed):
            _say(started, f"{done:,} studies")
        _say(started, "rows are written, indexes are built")
    _say(started, ", ".join(f"{table.count:,} {name}" for name, table in to.items()))


def _say(started: float, words: str) -> None:
    print(f"{time.monotonic() - started:6.0f} s  {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
