"""People of the simulated hospital at the exceptions queue: they settle by the truth, through the API of everybody."""

import datetime as dt
from dataclasses import dataclass, field, replace
from random import Random
from threading import Event
from typing import Any

import pytest
from django.db import connection
from pytest_django.live_server_helper import LiveServer

from orchestrator.models import ApiToken, Decision, ExceptionCase, IdentityClaim, Role, Study, User, WorkflowEvent
from orchestrator.services.exceptions import open_case
from orchestrator.services.tokens import READ, WRITE, create_token
from orchestrator.simulator.clerk import Office, Queue
from orchestrator.simulator.clock import Clock
from orchestrator.simulator.faults import FAULTS
from orchestrator.simulator.ledger import Entry, Ledger
from orchestrator.simulator.orders import Exam
from orchestrator.simulator.planner import Planner
from orchestrator.simulator.rest import Api
from orchestrator.simulator.staff import Staff
from orchestrator.states import CaseStatus, Identity
from reconciliation.models import MatchRun
from reconciliation.services.reconcile import reconcile_study
from tests.factories import make_order, make_site, make_study, make_user

# The chance of a case that nobody leaves, hands back or gives up.
_DILIGENT = 7

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Hospital:
    """A queue of two people before a real server."""

    server: LiveServer
    ledger: Ledger = field(default_factory=Ledger)
    opened: dt.datetime = field(default_factory=lambda: dt.datetime.now().astimezone())
    placed: list[Exam] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        return self.server.thread.host, self.server.thread.port

    def api(self, role: Role = Role.ADMINISTRATOR) -> Api:
        return Api(*self.address, create_token(user=make_user(role), name="test", scopes=(READ, WRITE)))

    def order_late(self, exam: Exam) -> None:
        """Called in a clerk's thread, whose connection nobody else closes."""
        self.placed.append(exam)
        order = exam.order
        try:
            make_order(filler_order_number=order.filler_order_number, accession_number=order.accession_number)
        finally:
            connection.close()

    def work(self) -> int:
        return Queue(Staff(self.api(), self.address).hire(2), self.office()).work_off()

    def office(self) -> Office:
        return Office(
            self.ledger, self.order_late, lambda _case: Random(_DILIGENT), 0.0, self.opened, Event(), 10.0,
            self.said.append,
        )  # fmt: skip


@pytest.fixture
def hospital(live_server: LiveServer) -> Hospital:
    make_site()
    return Hospital(live_server)


def exam(fault: str = "lost_zeros") -> Exam:
    plain = Planner(seed=1, stamp="T").exam(1, dt.datetime.now().astimezone())
    return replace(plain, fault=FAULTS[fault]) if fault else plain


def held(hospital: Hospital, exam: Exam, *, clock: Clock | None = None, is_ordered: bool = True) -> Study:
    """A study of that exam, whose patient id is not the order's: a person has to look."""
    order = None
    if is_ordered:
        numbers = exam.order
        order = make_order(filler_order_number=numbers.filler_order_number, accession_number=numbers.accession_number)
    # Another order of that day, which resembles the images as much.
    make_order()
    name = "Doe^Jane" if is_ordered else "Zhou^Li"
    study = make_study(order, patient_id="typed", patient_name=name, accession_number="")
    reconcile_study(study.pk)
    hospital.ledger.add(Entry(exam, study.study_instance_uid, clock=clock or Clock()))
    return study


def case_of(study: Study) -> ExceptionCase:
    return ExceptionCase.objects.get(study=study)


def test_a_held_study_is_matched_to_the_order_that_it_truly_belongs_to(hospital: Hospital) -> None:
    study = held(hospital, exam())
    [entry] = hospital.ledger.entries
    entry.touched_at = 0.0
    assert hospital.work() == 1
    assert entry.touched_at
    claim = IdentityClaim.objects.get(study=study)
    assert claim.identity == Identity.MATCHED
    assert claim.order is not None
    assert claim.order.filler_order_number == exam().order.filler_order_number
    case = case_of(study)
    assert case.status == CaseStatus.RESOLVED
    assert case.owner is not None
    assert case.owner.username in {"sim-mara", "sim-tom"}
    assert Decision.objects.get().reason
    events = WorkflowEvent.objects.filter(subject_type="exceptioncase").order_by("pk")
    assert [each.name for each in events] == ["case.opened", "case.claimed", "case.resolved"]


def test_for_an_exam_without_an_order_one_is_asked_for_and_matched(hospital: Hospital) -> None:
    unordered = exam("no_order")
    study = held(hospital, unordered, is_ordered=False)
    hospital.work()
    assert hospital.placed == [unordered]
    claim = IdentityClaim.objects.get(study=study)
    assert claim.order is not None
    assert claim.order.filler_order_number == unordered.order.filler_order_number


@pytest.mark.parametrize("fault", ["", "typing_error"])
def test_what_no_fault_explains_is_left_for_the_judge(hospital: Hospital, fault: str) -> None:
    study = held(hospital, exam(fault))
    assert case_of(study).reason_code == "PATIENT_ID_CONFLICT"
    open_case(
        "incomplete_study", about=study, reason_code="INSTANCES_MISSING", summary="", site=study.site, study=study
    )
    assert hospital.work() == 0
    assert set(ExceptionCase.objects.values_list("status", flat=True)) == {CaseStatus.OPEN}


def test_that_held_images_lie_in_an_archive_is_noted_until_they_are_matched(hospital: Hospital) -> None:
    study = held(hospital, exam("wrong_entry_noticed"))
    claims = IdentityClaim.objects.filter(study=study)
    case = open_case(
        "already_delivered", about=study, reason_code="UNMATCHED_AFTER_DELIVERY", summary="", site=study.site,
        study=study, claim=claims.get(),
    )  # fmt: skip
    for identity, status in ((Identity.HELD, CaseStatus.OPEN), (Identity.MATCHED, CaseStatus.DISMISSED)):
        claims.update(identity=identity)
        hospital.work()
        case.refresh_from_db()
        assert case.status == status


def test_a_case_of_no_exam_is_left_for_the_judge(hospital: Hospital) -> None:
    site = make_site()
    for kind, code in (("hl7_rejected", "PID-3"), ("mpps_conflict", "report_refused")):
        open_case(kind, about=site, reason_code=code, summary="", site=site)
    assert hospital.work() == 0
    assert set(ExceptionCase.objects.values_list("status", flat=True)) == {CaseStatus.OPEN}


def test_a_case_of_an_exam_that_is_under_way_is_looked_at_when_that_is_over(hospital: Hospital) -> None:
    study = held(hospital, exam())
    later = hospital.ledger.entries
    hospital.ledger = Ledger()
    apis = Staff(hospital.api(), hospital.address).hire(1)
    queue = Queue(apis, hospital.office())
    assert queue.work_off() == 0
    hospital.ledger.add(later[0])
    assert queue.work_off() == 1
    assert case_of(study).status == CaseStatus.RESOLVED


def test_a_true_order_that_was_not_offered_is_noted(hospital: Hospital) -> None:
    study = held(hospital, exam())
    MatchRun.objects.update(candidates=[])
    hospital.work()
    [entry] = hospital.ledger.entries
    assert IdentityClaim.objects.get(study=study).identity == Identity.MATCHED
    assert entry.problem == f"the true order is not among the candidates of case {case_of(study).pk}"


def test_two_people_in_one_study_go_to_somebody_who_can_part_them(hospital: Hospital) -> None:
    study = held(hospital, exam("second_patient"))
    ExceptionCase.objects.update(kind="study_uid_conflict", reason_code="TWO_PATIENTS")
    hospital.work()
    assert (case_of(study).status, Decision.objects.count()) == (CaseStatus.ESCALATED, 0)


def test_what_would_be_seen_after_the_history_ends_is_left_for_the_next_day(hospital: Hospital) -> None:
    now, clock = dt.datetime.now().astimezone(), Clock()
    # Opened this minute: nobody looks that soon.
    clock.turn(now)
    study = held(hospital, exam(), clock=clock)
    assert hospital.work() == 0
    assert case_of(study).status == CaseStatus.OPEN


def test_in_history_the_case_was_settled_when_people_were_at_their_desks(hospital: Hospital) -> None:
    night = (dt.datetime.now().astimezone() - dt.timedelta(days=3)).replace(hour=23)
    clock = Clock()
    clock.turn(night)
    study = held(hospital, exam(), clock=clock)
    hospital.work()
    assert case_of(study).status == CaseStatus.RESOLVED
    (_, begun), (_, taken), (_, settled) = clock.turns
    assert begun == night < taken < settled
    assert taken.date() == night.date() + dt.timedelta(days=1)
    assert 7 <= taken.hour < 9


def test_without_an_administrator_all_work_under_the_token_that_was_given(hospital: Hospital) -> None:
    api = hospital.api(Role.PACS_ADMINISTRATOR)
    before = User.objects.count()
    staff = Staff(api, hospital.address)
    assert staff.hire(3) == [api] * 3
    staff.dismiss()
    assert User.objects.count() == before


def test_the_same_people_come_back_the_next_day(hospital: Hospital) -> None:
    api = hospital.api()
    assert len({id(each) for each in Staff(api, hospital.address).hire(6)}) == 6
    Staff(api, hospital.address).hire(1)
    people: Any = User.objects.filter(first_name__in=["Mara", "Tom", "Ines", "Jonas", "Aiko"])
    assert sorted(people.values_list("username", flat=True)) == [
        "sim-aiko", "sim-ines", "sim-jonas", "sim-mara", "sim-mara2", "sim-tom",
    ]  # fmt: skip


def test_when_the_hospital_closes_its_people_and_their_tokens_end(hospital: Hospital) -> None:
    api = hospital.api()
    left_behind = Staff(api, hospital.address)
    left_behind.hire(1)
    staff = Staff(api, hospital.address)
    staff.hire(2)
    staff.dismiss()
    people: Any = User.objects.filter(username__startswith="sim-")
    assert set(people.values_list("is_active", flat=True)) == {False}
    tokens: Any = ApiToken.objects.filter(user__in=people)
    assert (tokens.count(), tokens.filter(revoked_at=None).count()) == (3, 0)


def test_nobody_works_as_somebody_who_is_not_of_the_hospital(hospital: Hospital) -> None:
    theirs = User.objects.create_user("sim-mara", password="their own password", first_name="Simone", is_active=False)
    with pytest.raises(OSError, match="sim-mara is not of this hospital"):
        Staff(hospital.api(), hospital.address).hire(1)
    theirs.refresh_from_db()
    assert not theirs.is_active
    assert theirs.check_password("their own password")
