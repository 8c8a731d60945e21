"""Modalities that report at the same moment: nothing is left half done, and no two wait for each other for ever."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from orchestrator.models import ImagingServiceRequest, Instance, ScheduledProcedureStep, Site, Study
from orchestrator.states import Custody, Identity, OrderStatus, StepStatus
from reconciliation.services.reconcile import reconcile_study
from tests import together
from tests.factories import make_order, make_study, step_of
from tests.peers import wait_for
from tests.worklists.test_mpps import begun, ended, send, status_of
from tests.worklists.ward import encoded, schedule
from worklists.datasets.performed import read_performed
from worklists.models import ModalityPerformedProcedureStep
from worklists.services import mpps
from worklists.services.linking import locked_steps

pytestmark = [pytest.mark.django_db(transaction=True), together.many_writers]


@contextlib.contextmanager
def both_in_the_middle() -> Iterator[None]:
    """Each of two transactions has written its performed step before either looks at what is scheduled."""
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


def test_the_end_of_a_step_and_the_matching_of_its_images_never_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The end held the order and wanted the study, to close it; the matching held the study and wanted the order."""
    order, uid = make_order(), generate_uid()
    study, step = make_study(order), step_of(order)
    Study.objects.update(custody=Custody.RECEIVING)
    assert send("N-CREATE", uid, begun(step)).status == 0
    end = ended(images=1)
    images = end.PerformedSeriesSequence[0].ReferencedImageSequence
    images[0].ReferencedSOPInstanceUID = Instance.objects.get().sop_instance_uid
    performed = read_performed(encoded(end), ExplicitVRLittleEndian)
    locked, waiting = threading.Event(), threading.Event()

    def locked_and_seen(each: ModalityPerformedProcedureStep) -> list[ScheduledProcedureStep]:
        steps = locked_steps(each)
        locked.set()
        assert waiting.wait(10)
        return steps

    def finish() -> None:
        mpps.update(sop_instance_uid=uid, performed=performed, sender=mpps.Sender("CT_NORTH", order.site_id))

    def reconcile() -> None:
        assert locked.wait(10)
        reconcile_study(study.pk)

    def watch() -> None:
        wait_for(together.somebody_waits_for_a_lock, what="the matching to wait")
        waiting.set()

    monkeypatch.setattr(mpps, "locked_steps", locked_and_seen)
    assert not together.at_once(finish, reconcile, watch)
    study.refresh_from_db()
    assert (status_of(step), study.custody, study.identity) == (
        StepStatus.COMPLETED, Custody.RECEIVED, Identity.MATCHED,
    )  # fmt: skip
