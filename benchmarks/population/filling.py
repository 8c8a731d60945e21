"""The rows of all days, written portion by portion, and again as often as there are to be more."""

import datetime as dt
from collections.abc import Iterator, Mapping
from random import Random

from benchmarks.population.acts import add_jobs, compare_held
from benchmarks.population.bulk import STRIDE, Table
from benchmarks.population.exams import Size
from benchmarks.population.places import configure
from benchmarks.population.tables import APART
from benchmarks.population.tallies import tally
from benchmarks.population.years import Years

DISTINCT = 50_000  # studies that are made up; more are copies of them, under other numbers
_EACH = 10_000  # studies between two writes


def write(to: Mapping[str, Table], *, studies: int, open_cases: int | None = None, seed: int = 1) -> Iterator[int]:
    """Answers how many studies are written, now and then. A tenth of them has an open case, unless it is said."""
    copies = -(-studies // DISTINCT)
    wanted = studies // 10 if open_cases is None else open_cases
    size = Size(studies // copies, wanted // copies)
    years = Years(size, configure(), to, dt.datetime.now(dt.UTC).replace(tzinfo=None), Random(seed))  # noqa: S311  rows, not secrets
    written = 0
    for done in years.fill():
        if done - written >= _EACH:
            _flush(to)
            written = done
            yield done
    _flush(to)
    for number in range(1, copies):
        for name, table in to.items():
            table.copy(number, apart=APART.get(name, frozenset()))
        yield size.studies * (number + 1)
    years.remember_sequences(STRIDE * (copies - 1))
    tally()
    add_jobs(years.around.people[0], years.now)
    compare_held()


def _flush(to: Mapping[str, Table]) -> None:
    for table in to.values():
        table.flush()
