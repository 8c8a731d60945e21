"""Several interfaces, workers and connections that speak of the same thing at the same time."""

import threading
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from django.db import connection, transaction

from orchestrator.hl7.drain import apply_messages
from orchestrator.models import (
    HL7Application,
    ImagingServiceRequest,
    InboundMessage,
    Patient,
    PatientIdentifier,
    ScheduledProcedureStep,
)
from orchestrator.services.messages import dismiss, replay
from orchestrator.services.orders import advance_step
from orchestrator.states import InboundStatus
from tests.factories import make_site
from tests.orchestrator.hl7.speech import Sender, adt, listening, orm, pid, take
from tests.peers import wait_for
from tests.together import at_once, many_writers, somebody_waits_for_a_lock
from tests.worklists.ward import kept
from worklists.models import WorklistEntry
from worklists.services.steps import project

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _site() -> None:
    make_site()


def apply_at_once(interfaces: Sequence[int]) -> None:
    """A worker for each; in turn on SQLite, which has one writer and refuses threads a database in memory."""
    workers = [partial(apply_messages, pk) for pk in interfaces]
    if connection.vendor == "sqlite":
        for work in workers:
            work()
    else:
        assert at_once(*workers) == []


def test_two_interfaces_that_tell_of_new_patients_at_once_make_each_of_them_once() -> None:
    people = [pid(f"P{number}", f"Doe{number}^Jane") for number in range(12)]
    renamed = [pid(f"P{number}", f"New{number}^Jane") for number in range(12)]
    take(*(adt(control_id=str(number), application="HIS", person=each) for number, each in enumerate(people)))
    take(*(adt("A08", f"R{number}", application="HIS", person=each) for number, each in enumerate(renamed)))
    take(*(orm(control_id=str(number), number=str(number), person=each) for number, each in enumerate(people)))
    interfaces = list(HL7Application.objects.values_list("pk", flat=True))
    apply_at_once(interfaces)
    assert set(InboundMessage.objects.values_list("status", flat=True)) == {InboundStatus.APPLIED}
    assert (Patient.objects.count(), PatientIdentifier.objects.count()) == (12, 12)
    assert {each.patient.identifiers.count() for each in ImagingServiceRequest.objects.all()} == {1}
    written = kept()
    project(ScheduledProcedureStep.objects.values_list("pk", flat=True))
    assert kept() == written


def test_several_workers_at_one_interface_apply_its_messages_once_and_in_their_order() -> None:
    take(*(adt("A08", f"{number}", person=pid(name=f"Name{number}^Jane")) for number in range(30)))
    interface = HL7Application.objects.get().pk
    apply_at_once([interface] * 3)
    order = InboundMessage.objects.order_by("applied_at").values_list("control_id", flat=True)
    assert list(order) == [str(number) for number in range(30)]
    assert Patient.objects.get().name == "Name29^Jane"


def test_the_same_message_on_many_connections_at_once_is_taken_once() -> None:
    answers: list[str] = []
    with listening() as port:

        def say() -> None:
            with Sender(port) as sender:
                answers.append(sender.say(orm()))

        assert at_once(*[say] * 12) == []
    assert (len(answers), len(set(answers))) == (12, 1)
    assert InboundMessage.objects.filter(status=InboundStatus.RECEIVED).count() == 1
    assert InboundMessage.objects.filter(status=InboundStatus.DUPLICATE).count() == 11


def while_open(work: Callable[[], object], other: Callable[[], object]) -> None:
    """`other` comes while the transaction of `work` is open, which ends when `other` waits for it."""
    done, seen = threading.Event(), threading.Event()

    def first() -> None:
        with transaction.atomic():
            work()
            done.set()
            assert seen.wait(30), "nobody waited"

    def second() -> None:
        assert done.wait(30)
        other()

    def watch() -> None:
        assert done.wait(30)
        wait_for(somebody_waits_for_a_lock, what="the other transaction at what this one holds")
        seen.set()

    assert at_once(first, second, watch) == []


@many_writers
def test_an_update_while_a_modality_starts_the_exam_does_not_put_it_back_on_the_worklist() -> None:
    take(orm())
    interface = HL7Application.objects.get().pk
    apply_messages(interface)
    take(adt("A08", "2", person=pid(name="Doe^Jane^Ann")))
    step = ScheduledProcedureStep.objects.get()
    while_open(lambda: advance_step(step=step, event="step.started"), lambda: apply_messages(interface))
    entry = WorklistEntry.objects.get()
    assert not entry.visible
    assert b"Doe^Jane^Ann" in bytes(entry.answer)


def settled_by_a_person(bad: InboundMessage) -> None:
    dismiss(bad, reason="sent in error")


def settled_by_its_worker(bad: InboundMessage) -> None:
    Patient.objects.update(birth_date=None)
    PatientIdentifier.objects.filter(value="P2").delete()
    replay(bad, reason="mended")
    apply_messages(bad.interface_id or 0)


@many_writers
@pytest.mark.parametrize("settle", [settled_by_a_person, settled_by_its_worker])
def test_what_comes_while_the_message_before_it_is_settled_does_not_wait_for_ever(
    settle: Callable[[InboundMessage], None],
) -> None:
    take(adt(), adt(control_id="2", person=pid("P2", "Roe^Max")))
    take(adt("A08", "BAD", person=pid("P1^^^MAIN~P2")))
    apply_messages(HL7Application.objects.get().pk)
    bad = InboundMessage.objects.get(control_id="BAD")
    assert bad.status == InboundStatus.QUARANTINED
    take(adt("A08", "NEXT", application="HIS"))
    interface = InboundMessage.objects.get(control_id="NEXT").interface_id or 0
    while_open(lambda: settle(bad), lambda: apply_messages(interface))
    apply_messages(interface)
    assert InboundMessage.objects.get(control_id="NEXT").status == InboundStatus.APPLIED
