"""Cases have one owner at a time; jobs count, fail item by item, and stop when asked."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import IntegrityError, transaction
from django.test import override_settings
from django.utils import timezone

from orchestrator import selectors
from orchestrator.models import (
    Actor,
    ActorKind,
    ExceptionCase,
    Job,
    Patient,
    Site,
    User,
    Visit,
    WorkflowEvent,
    acting,
)
from orchestrator.permissions import Viewer
from orchestrator.services import bulk, exceptions, jobs, leases, presence
from orchestrator.states import CaseStatus, JobStatus
from tests.factories import make_user
from tests.peers import wait_for

pytestmark = pytest.mark.django_db


@pytest.fixture
def visit() -> Visit:
    site = Site.objects.get(code="MAIN")
    return Visit.objects.create(patient=Patient.objects.create(), site=site, visit_number="V1")


@pytest.fixture
def people() -> tuple[User, User]:
    return User.objects.create_user("ines"), User.objects.create_user("mara")


def open_one(visit: Visit, **more: Any) -> ExceptionCase:
    return exceptions.open_case(
        "rule_error", about=visit, reason_code="X", summary="Something does not align.", site=visit.site, **more
    )


def test_a_case_opened_twice_about_the_same_thing_is_one_case_brought_up_to_date(visit: Visit) -> None:
    first = open_one(visit, best_score=40)
    second = open_one(visit, best_score=70)
    assert first.pk == second.pk
    assert ExceptionCase.objects.get().best_score == 70
    assert first.due_at > timezone.now()


def test_a_case_whose_facts_are_the_same_again_is_not_written_again(visit: Visit) -> None:
    open_one(visit, best_score=40)
    open_one(visit, best_score=40)
    assert list(WorkflowEvent.objects.values_list("name", flat=True)) == ["case.opened"]


def test_a_case_that_another_worker_opened_a_moment_ago_costs_this_one_nothing(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other worker's row is not there when this one looks, and there when it inserts."""
    first, seen = open_one(visit, best_score=40), exceptions._bring_up_to_date
    looks = []

    def look(*asked: Any) -> ExceptionCase | None:
        looks.append(asked)
        return seen(*asked) if len(looks) > 1 else None

    monkeypatch.setattr(exceptions, "_bring_up_to_date", look)
    with transaction.atomic():
        Patient.objects.create(name="work that must stay")
        second = open_one(visit, best_score=70)
    assert first.pk == second.pk
    assert ExceptionCase.objects.get().best_score == 70
    assert Patient.objects.filter(name="work that must stay").exists()


def test_the_database_itself_refuses_a_second_open_case(visit: Visit) -> None:
    case = open_one(visit)
    case.pk = None
    case._state.adding = True
    with pytest.raises(IntegrityError), transaction.atomic():
        case.save()


def test_a_claimed_case_cannot_be_claimed_or_settled_by_somebody_else(visit: Visit, people: tuple[User, User]) -> None:
    ines, mara = people
    case = open_one(visit)
    exceptions.claim_case(case.pk, user=ines)
    for attempt in (exceptions.claim_case, exceptions.dismiss):
        with pytest.raises(exceptions.CaseTaken, match="ines"):
            attempt(case.pk, user=mara, reason="mine")
    exceptions.resolve_about("rule_error", about=visit, resolution="by itself")
    case.refresh_from_db()
    assert (case.status, case.owner) == (CaseStatus.CLAIMED, ines)


def test_claiming_twice_is_harmless(visit: Visit, people: tuple[User, User]) -> None:
    case = open_one(visit)
    exceptions.claim_case(case.pk, user=people[0])
    exceptions.claim_case(case.pk, user=people[0])
    assert WorkflowEvent.objects.filter(name="case.claimed").count() == 1


def test_a_settled_case_says_so(visit: Visit, people: tuple[User, User]) -> None:
    case = open_one(visit)
    exceptions.dismiss(case.pk, user=people[0], reason="test patient")
    with pytest.raises(exceptions.CaseClosed, match="dismissed"):
        exceptions.claim_case(case.pk, user=people[1])


def test_a_snoozed_case_comes_back_when_its_time_is_over(visit: Visit, people: tuple[User, User]) -> None:
    case = open_one(visit)
    exceptions.snooze(case.pk, user=people[0], until=timezone.now() - timedelta(seconds=1), reason="wait for the RIS")
    exceptions.wake_snoozed()
    case.refresh_from_db()
    assert (case.status, case.snoozed_until) == (CaseStatus.OPEN, None)


def test_those_who_look_at_a_case_see_each_other(visit: Visit, people: tuple[User, User]) -> None:
    case = open_one(visit)
    assert presence.present(case, user_id=people[0].pk) == []
    assert presence.present(case, user_id=people[1].pk) == [people[0]]


def count_to_three(job: Job) -> dict[str, Any]:
    def do(_viewer: Viewer, _user: User, number: int, _seen: str) -> None:
        if number == 2:
            raise ValueError("two is wrong")

    return bulk.run(job, do)


def stop_in_the_middle(job: Job) -> dict[str, Any]:
    def do(_viewer: Viewer, _user: User, _number: int, _seen: str) -> None:
        jobs.stop_job(job.pk)

    return bulk.run(job, do)


def explode(job: Job) -> dict[str, Any]:
    raise ValueError("no such file")


def look_for_another(job: Job) -> dict[str, Any]:
    """Work for two leases, without a word, and see whether somebody else can take the job."""
    over = timezone.now() + timedelta(seconds=2 * settings.LEASE_SECONDS)
    lease = Job.objects.filter(pk=job.pk).values_list("lease_until", flat=True)
    wait_for(lambda: (lease[0] or over) > over, what="a lease that is renewed")
    return {"taken": leases.take(Job.objects.all(), job.pk) is not None}


def start(kind: Any, owner: User) -> Job:
    rows = [(number, "") for number in (1, 2, 3)]
    return bulk.start(f"{__name__}.{kind.__name__}", title="Count", owner=owner, rows=rows, parameters={})


def test_a_job_counts_its_items_and_keeps_the_failures(people: tuple[User, User]) -> None:
    job = start(count_to_three, people[0])
    jobs.run_job(job.pk)
    jobs.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.total, job.done, job.failed) == (JobStatus.DONE, 3, 3, 1)
    assert job.result == {"done": 2, "skipped": 0, "failed": 1}


def test_a_job_stops_at_the_next_item_when_asked(people: tuple[User, User]) -> None:
    job = start(stop_in_the_middle, people[0])
    jobs.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.done) == (JobStatus.STOPPED, 1)


@pytest.mark.django_db(transaction=True)
def test_a_job_is_held_for_as_long_as_it_works(people: tuple[User, User]) -> None:
    with override_settings(LEASE_SECONDS=1):
        job = start(look_for_another, people[0])
        jobs.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.result, job.attempts) == (JobStatus.DONE, {"taken": False}, 1)


def test_a_job_that_fails_says_why(people: tuple[User, User]) -> None:
    job = start(explode, people[0])
    with pytest.raises(ValueError, match="no such file"):
        jobs.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.last_error) == (JobStatus.FAILED, "ValueError: no such file")
    case = ExceptionCase.objects.get()
    assert (case.kind, case.subject_id) == ("automation_failed", job.pk)
    assert "no such file" not in case.summary


def test_a_job_that_is_stopped_before_it_began_never_begins_and_who_stopped_it_is_known(
    people: tuple[User, User],
) -> None:
    job = start(explode, people[0])
    with acting(Actor(ActorKind.USER, "ines", people[0].pk)):
        jobs.stop_job(job.pk)
        jobs.stop_job(job.pk)
    jobs.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.started_at) == (JobStatus.STOPPED, None)
    assert WorkflowEvent.objects.get(name="job.stop_requested").actor_name == "ines"


def test_a_job_that_takes_its_worker_down_again_and_again_is_given_up(people: tuple[User, User]) -> None:
    job = start(count_to_three, people[0])
    # What killed workers leave: it was taken, and then nothing more.
    Job.objects.filter(pk=job.pk).update(attempts=jobs.MOST_ATTEMPTS, status=JobStatus.RUNNING)
    jobs.run_job(job.pk)
    job.refresh_from_db()
    assert (job.status, job.done) == (JobStatus.FAILED, 0)
    assert "worker died" in job.last_error
    assert ExceptionCase.objects.get().kind == "automation_failed"


def test_the_queue_counts_for_each_combination_of_filters_what_they_leave(
    visit: Visit, people: tuple[User, User]
) -> None:
    now, viewer = timezone.now(), Viewer.of(make_user())
    dues = [timedelta(minutes=-5), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=5), timedelta(days=3)]
    for number in range(40):
        about = Visit.objects.create(patient=visit.patient, site=visit.site, visit_number=f"W{number}")
        case = open_one(about, modality=("CT", "")[number % 2], source=("A", "", "B")[number % 3])
        owner = (None, *people)[number % 3]
        ExceptionCase.objects.filter(pk=case.pk).update(due_at=now + dues[number % 5], owner=owner)
    open_cases = selectors.cases(viewer)
    counts = selectors.count_cases(open_cases)
    assert sum(number for _, number in counts) == 40
    assert {values["due"] for values, _ in counts} == {"over", "hour", "day", "later"}
    for values, number in counts:
        assert selectors.filter_cases(open_cases, values).count() == number
