"""A small filled hospital inside a test's transaction."""

from django.db import connection

from benchmarks.population.filling import write
from benchmarks.population.tables import tables


def populate(studies: int = 300) -> None:
    """Two years of rows as the benchmarks' population has them; its indexes stay as they are.

    With their statistics, as a database that is in use has them: without, a search may take minutes.
    """
    for _ in write(tables(), studies=studies):
        pass
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
