"""A small filled hospital inside a test's transaction."""

from benchmarks.population.filling import write
from benchmarks.population.tables import tables


def populate(studies: int = 300) -> None:
    """Two years of rows as the benchmarks' population has them; its indexes stay as they are."""
    for _ in write(tables(), studies=studies):
        pass
