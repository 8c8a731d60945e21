"""Several threads at one thing, each with a database connection of its own."""

import threading
from collections.abc import Callable

import pytest
from django.db import connection

# What happens between two writers happens where there are several: SQLite has one, and in memory locks whole tables.
many_writers = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")


def at_once(*works: Callable[[], object]) -> list[BaseException]:
    """Each in a thread of its own, begun together; what they raised."""
    begin, failed = threading.Barrier(len(works)), list[BaseException]()

    def run(work: Callable[[], object]) -> None:
        begin.wait(10)
        try:
            work()
        except BaseException as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return failed
