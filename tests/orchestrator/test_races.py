"""Two at once on a real PostgreSQL: each of these was one transaction too many when it was told one after the other."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import connection, connections, transaction

from orchestrator.models import AccessChain, AccessEvent, ExceptionCase, Patient, Subscription, Visit, WorkflowEvent
from orchestrator.services import access_log, exceptions, leases
from orchestrator.services.workflow import transition
from orchestrator.states import IllegalTransition, VisitStatus
from tests.factories import make_site, make_user
from tests.peers import wait_for
from tests.together import somebody_waits_for_a_lock

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite lets one writing transaction in at a time"),
]


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each work came to (its answer or its error), all begun at the same moment."""
    gate, outcomes = threading.Barrier(len(works)), [None] * len(works)

    def run(number: int, work: Callable[[], Any]) -> None:
        try:
            gate.wait(10)
            outcomes[number] = work()
        except Exception as error:
            outcomes[number] = error  # type: ignore[call-overload]  # the test looks at it
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes


def errors(outcomes: Sequence[Any]) -> list[Any]:
    return [each for each in outcomes if isinstance(each, Exception)]


@pytest.fixture
def visit() -> Visit:
    return Visit.objects.create(patient=Patient.objects.create(), site=make_site(), visit_number="V1")


def open_about(visit: Visit, reason_code: str) -> ExceptionCase:
    return exceptions.open_case(
        "rule_error", about=visit, reason_code=reason_code, summary="Something does not align.", site=visit.site
    )


def test_the_case_that_two_workers_open_at_once_is_one_and_neither_loses_its_work(visit: Visit) -> None:
    inserted, seen = threading.Event(), threading.Event()

    def first() -> None:
        with transaction.atomic():
            open_about(visit, "FIRST")
            inserted.set()
            seen.wait(10)

    def second() -> None:
        inserted.wait(10)
        with transaction.atomic():
            Patient.objects.create(name="work that must stay")
            open_about(visit, "SECOND")

    def release() -> None:
        wait_for(somebody_waits_for_a_lock, what="the second worker at the first one's row")
        seen.set()

    assert errors(at_once(first, second, release)) == []
    assert ExceptionCase.objects.get().reason_code == "SECOND"
    assert Patient.objects.filter(name="work that must stay").exists()
    assert sorted(WorkflowEvent.objects.filter(name__startswith="case.").values_list("name", flat=True)) == [
        "case.opened",
        "case.updated",
    ]


def test_a_case_that_a_person_settles_while_it_fails_again_is_opened_anew(visit: Visit) -> None:
    case, user = open_about(visit, "FIRST"), make_user()
    settled, seen = threading.Event(), threading.Event()

    def person() -> None:
        with transaction.atomic():
            exceptions.dismiss(case.pk, user=user, reason="seen")
            settled.set()
            seen.wait(10)

    def worker() -> None:
        settled.wait(10)
        open_about(visit, "AGAIN")

    def release() -> None:
        wait_for(somebody_waits_for_a_lock, what="the worker at the person's row")
        seen.set()

    assert errors(at_once(person, worker, release)) == []
    assert list(ExceptionCase.objects.order_by("pk").values_list("reason_code", "status")) == [
        ("FIRST", "DISMISSED"),
        ("AGAIN", "OPEN"),
    ]


def test_of_two_who_claim_a_case_one_has_it_and_the_other_is_told_who(visit: Visit) -> None:
    case, ines, mara = open_about(visit, "X"), make_user(name="ines"), make_user(name="mara")
    outcomes = at_once(
        lambda: exceptions.claim_case(case.pk, user=ines), lambda: exceptions.claim_case(case.pk, user=mara)
    )
    [refusal] = errors(outcomes)
    assert isinstance(refusal, exceptions.CaseTaken)
    case.refresh_from_db()
    assert case.owner is not None
    assert case.owner.username in str(refusal)
    assert WorkflowEvent.objects.filter(name="case.claimed").count() == 1


def test_of_two_who_leave_the_same_state_one_is_refused(visit: Visit) -> None:
    copies = [Visit.objects.get(pk=visit.pk) for _ in range(2)]
    outcomes = at_once(*(lambda copy=copy: transition(copy, "visit.canceled") for copy in copies))
    [refusal] = errors(outcomes)
    assert isinstance(refusal, IllegalTransition)
    assert Visit.objects.get().status == VisitStatus.CANCELED
    assert WorkflowEvent.objects.filter(name="visit.canceled").count() == 1


def test_of_ten_workers_that_reach_for_the_same_row_one_has_it() -> None:
    row = Subscription.objects.create(event_id=1, event_name="x", subject_id=1, subscriber="x", queue="rest")

    def take() -> Subscription | None:
        return leases.take(Subscription.objects.all(), row.pk)

    outcomes = at_once(*[take] * 10)
    assert errors(outcomes) == []
    [taken] = [each for each in outcomes if each is not None]
    row.refresh_from_db()
    assert (row.fence, row.attempts) == (taken.fence, 1) == (1, 1)


def test_sealers_that_run_at_once_make_one_chain() -> None:
    when = make_user().date_joined
    for portion in range(3):
        AccessEvent.objects.bulk_create(
            AccessEvent(at=when, action="patients.view", subject_type="patient", subject_id=f"{portion}.{n}")
            for n in range(50)
        )
        assert errors(at_once(*[access_log.seal] * 4)) == []
    assert access_log.first_break() is None
    assert AccessChain.objects.get().seal == 150


def test_sealing_holds_up_nobody_who_refers_to_a_site(visit: Visit) -> None:
    AccessEvent.objects.create(at=visit.site.history.latest().history_date, action="x", subject_type="y")
    sealing, written = threading.Event(), threading.Event()

    def sealer() -> None:
        with transaction.atomic():
            access_log.seal()
            sealing.set()
            assert written.wait(10), "the order waited for the sealer"

    def ward() -> None:
        sealing.wait(10)
        Visit.objects.create(patient=visit.patient, site=visit.site, visit_number="V2")
        written.set()

    assert errors(at_once(sealer, ward)) == []
