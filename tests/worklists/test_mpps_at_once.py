"""Modalities that report at the same moment: nothing is left half done, and no two wait for each other for ever."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from pydicom.uid import generate_uid

from orchestrator.models import ImagingServiceRequest, ScheduledProcedureStep, Site
from orchestrator.states import OrderStatus, StepStatus
from tests.worklists.test_mpps import begun, ended, send, status_of
from tests.worklists.ward import schedule
from worklists.models import ModalityPerformedProcedureStep
from worklists.services import mpps
from worklists.services.linking import locked_steps

pytestmark = pytest.mark.django_db(transaction=True)


@contextlib.contextmanager
def both_in_the_middle() -> Iterator[None]:
    """Each of two transactions has written its performed step before either looks at what is scheduled.

    Where the database lets only one write at a time, the first goes on after a moment.
    """
    meeting = threading.Barrier(2)

    def meet(performed: ModalityPerformedProcedureStep) -> list[ScheduledProcedureStep]:
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(2)
        return locked_steps(performed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mpps, "locked_steps", meet)
        yield


@pytest.fixture(autouse=True)
def site() -> Site:
    return Site.objects.get_or_create(code="MAIN", defaults={"name": "Main"})[0]


def at_once(command: str, *messages: tuple[str, ScheduledProcedureStep]) -> list[int]:
    def report(message: tuple[str, ScheduledProcedureStep]) -> int:
        uid, step = message
        try:
            return send(command, uid, begun(step) if command == "N-CREATE" else ended()).status
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(messages)) as pool:
        return list(pool.map(report, messages))


def test_two_modalities_that_begin_one_step_at_once_are_both_taken() -> None:
    step = schedule()
    with both_in_the_middle():
        assert at_once("N-CREATE", (generate_uid(), step), (generate_uid(), step)) == [0, 0]
    assert status_of(step) == StepStatus.STARTED
    assert step.performed_steps.count() == 2


def test_one_creation_sent_twice_at_once_is_one_performed_step() -> None:
    step, uid = schedule(), generate_uid()
    assert at_once("N-CREATE", (uid, step), (uid, step)) == [0, 0]
    assert ModalityPerformedProcedureStep.objects.count() == 1


def test_two_ends_of_one_step_at_once_complete_it() -> None:
    step, uids = schedule(), [generate_uid(), generate_uid()]
    for uid in uids:
        at_once("N-CREATE", (uid, step))
    with both_in_the_middle():
        assert at_once("N-SET", *((uid, step) for uid in uids)) == [0, 0]
    assert status_of(step) == StepStatus.COMPLETED


def test_two_steps_of_one_order_that_end_at_once_complete_it() -> None:
    first, second = schedule(), schedule()
    order = first.procedure.order
    ImagingServiceRequest.objects.filter(pk=second.procedure.order_id).update(patient=order.patient)
    second.procedure.order = order
    second.procedure.save()
    uids = [generate_uid(), generate_uid()]
    for uid, step in zip(uids, (first, second), strict=True):
        at_once("N-CREATE", (uid, step))
    with both_in_the_middle():
        assert at_once("N-SET", (uids[0], first), (uids[1], second)) == [0, 0]
    order.refresh_from_db()
    assert order.status == OrderStatus.COMPLETED
