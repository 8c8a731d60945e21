"""Database connections that associations share."""

import threading
from unittest.mock import patch

from orchestrator.dimse import databases


def test_who_asks_when_all_are_lent_waits_for_one() -> None:
    with patch.object(databases, "_MOST_LENT", 1):
        shared = databases.Databases()
    held, given_back, served = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        with shared.lent():
            held.set()
            given_back.wait(10)

    def ask() -> None:
        with shared.lent():
            served.set()

    threads = [threading.Thread(target=hold), threading.Thread(target=ask)]
    threads[0].start()
    assert held.wait(10)
    threads[1].start()
    assert not served.wait(0.2)
    given_back.set()
    assert served.wait(10)
    for thread in threads:
        thread.join()
    shared.close()
