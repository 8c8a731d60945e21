"""What listeners write behind their answers: in order, within limits, and not lost for one bad record."""

import threading
from functools import partial

import pytest

from orchestrator.dimse.afterwards import Afterwards
from orchestrator.models import Site

pytestmark = pytest.mark.django_db(transaction=True)


def test_without_a_listener_it_is_done_at_once() -> None:
    done: list[int] = []
    Afterwards().do(lambda: done.append(1))
    assert done == [1]


def test_a_record_that_cannot_be_written_takes_no_other_with_it() -> None:
    recorder, may_begin = Afterwards(), threading.Event()
    recorder.start()
    recorder.do(lambda: may_begin.wait(30))
    recorder.do(lambda: Site.objects.update_or_create(code="A", defaults={"name": "A"}))
    recorder.do(lambda: Site.objects.get(code="NONE"))
    recorder.do(lambda: Site.objects.update_or_create(code="B", defaults={"name": "B"}))
    may_begin.set()
    recorder.stop()
    assert set(Site.objects.filter(code__in="AB").values_list("code", flat=True)) == {"A", "B"}


def test_more_than_may_wait_is_dropped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    recorder, begun, may_end = Afterwards(most_waiting=2), threading.Event(), threading.Event()
    done: list[int] = []

    def slow() -> None:
        begun.set()
        may_end.wait(30)

    recorder.start()
    recorder.do(slow)
    assert begun.wait(30)
    for number in range(5):
        recorder.do(partial(done.append, number))
    may_end.set()
    recorder.stop()
    assert done == [0, 1]
    assert "3 records of what peers asked were not kept" in caplog.text
