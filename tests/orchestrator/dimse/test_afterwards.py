"""What listeners write behind their answers: in order, within limits, and not lost for one bad record."""

import threading
from collections.abc import Sequence

import pytest

from orchestrator.dimse.afterwards import Afterwards
from orchestrator.models import Site

pytestmark = pytest.mark.django_db(transaction=True)


def test_without_a_listener_it_is_done_at_once() -> None:
    done: list[int] = []
    Afterwards().do(done.extend, 1)
    assert done == [1]


def _make_sites(codes: Sequence[str]) -> None:
    """`?` is no code that can be written."""
    for code in codes:
        if code == "?":
            raise ValueError(code)
        Site.objects.update_or_create(code=code, defaults={"name": code})


def test_a_record_that_cannot_be_written_takes_no_other_with_it() -> None:
    recorder, may_begin = Afterwards(), threading.Event()
    recorder.start()
    recorder.do(lambda _: may_begin.wait(30), None)
    for code in "A?B":
        recorder.do(_make_sites, code)
    may_begin.set()
    recorder.stop()
    assert set(Site.objects.filter(code__in="AB").values_list("code", flat=True)) == {"A", "B"}


def _occupied(recorder: Afterwards) -> threading.Event:
    """Start the recorder; it is busy writing until the event is set."""
    begun, may_end = threading.Event(), threading.Event()

    def slow(_: Sequence[None]) -> None:
        begun.set()
        may_end.wait(30)

    recorder.start()
    recorder.do(slow, None)
    assert begun.wait(30)
    return may_end


def test_what_came_together_is_written_together_and_in_order() -> None:
    recorder = Afterwards()
    written: list[Sequence[int]] = []
    may_end = _occupied(recorder)
    for number in range(3):
        recorder.do(written.append, number)
    may_end.set()
    recorder.stop()
    assert written == [[0, 1, 2]]


def test_more_than_may_wait_is_dropped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Afterwards(most_waiting=2)
    done: list[int] = []
    may_end = _occupied(recorder)
    for number in range(5):
        recorder.do(done.extend, number)
    may_end.set()
    recorder.stop()
    assert done == [0, 1]
    assert "3 records of what peers asked were not kept" in caplog.text
