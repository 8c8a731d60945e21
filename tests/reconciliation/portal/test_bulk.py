"""The same for many cases: shown first, frozen at the start, judged one by one, told row by row."""

from typing import Any

import pytest
from django.test import Client

from orchestrator.models import ExceptionCase, Job, JobItem, Role, Site, User, WorkflowEvent
from orchestrator.services import exceptions, jobs
from orchestrator.states import CaseStatus
from tests.factories import make_order, make_site, make_study, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def north() -> Site:
    return make_site("NORTH")


def failed(site: Site, kind: str = "delivery_failed") -> ExceptionCase:
    study = make_study(make_order(site=site), site=site)
    return exceptions.open_case(kind, about=study, reason_code="X", summary="Refused.", site=site, study=study)


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def run(answer: Any) -> Job:
    """The job that an answer started, when its worker has done it."""
    job = Job.objects.latest("pk")
    assert answer.headers["Location"] == f"/jobs/{job.pk}/"
    jobs.run_job(job.pk)
    job.refresh_from_db()
    return job


def results(job: Job) -> dict[int, tuple[str, str]]:
    return {item.subject_id: (item.outcome, item.text) for item in job.items.all()}


def test_it_says_first_how_many_and_why_others_are_left(north: Site) -> None:
    mara, ines = make_user(name="mara"), make_user(name="ines")
    free, held, theirs = failed(north), failed(north, "unmatched_study"), failed(north)
    exceptions.claim_case(theirs.pk, user=ines)
    picked = {"pick": [free.pk, held.pk, theirs.pk]}
    asked = client_of(mara).post("/exceptions/bulk/dismiss/", picked)
    assert "Dismiss 3 exceptions?" in asked.text
    assert "1 are settled without doing anything" in asked.text
    assert "1 left as they are: with somebody else, who keeps them." in asked.text
    assert "1 left as they are: held images, which are matched or rejected, not dismissed." in asked.text
    assert not Job.objects.exists()
    started = client_of(mara).post("/exceptions/bulk/dismiss/", {**picked, "reason": "Known outage"})
    job = run(started)
    told = results(job)
    assert told[free.pk] == ("done", "")
    assert told[held.pk][0] == told[theirs.pk][0] == "skipped"
    free.refresh_from_db()
    assert free.status == CaseStatus.DISMISSED
    event = WorkflowEvent.objects.get(name="case.dismissed")
    assert (event.actor_name, event.reason) == ("mara", "Known outage")


def test_all_that_match_are_those_of_the_start(north: Site) -> None:
    mara = make_user(name="mara")
    first, other = failed(north), failed(north, "incomplete_study")
    asked = {"all": "1", "filter": "kind=delivery_failed&site=all", "reason": "Mine", "to": mara.pk}
    started = client_of(mara).post("/exceptions/bulk/assign/", asked)
    late = failed(north)
    job = run(started)
    assert results(job) == {first.pk: ("done", "")}
    for case, owner in ((first, mara), (other, None), (late, None)):
        case.refresh_from_db()
        assert case.owner == owner


def test_what_changed_meanwhile_is_left_and_said(north: Site) -> None:
    mara, ines = make_user(name="mara"), make_user(name="ines")
    taken, slept = failed(north), failed(north)
    asked = {"pick": [taken.pk, slept.pk], "reason": "Mine", "hours": "4"}
    started = client_of(mara).post("/exceptions/bulk/snooze/", asked)
    exceptions.claim_case(taken.pk, user=ines)
    exceptions.escalate(slept.pk, user=mara, to=None, reason="Hard")
    told = results(run(started))
    assert "with somebody else" in told[taken.pk][1]
    assert told[slept.pk] == ("skipped", "Changed since you started this: it is escalated.")


def test_two_people_at_once_do_no_case_twice(north: Site) -> None:
    mara, ines = make_user(name="mara"), make_user(name="ines")
    case = failed(north)
    for user in (mara, ines):
        client_of(user).post("/exceptions/bulk/assign/", {"pick": [case.pk], "reason": "Mine", "to": user.pk})
    first, second = Job.objects.order_by("pk")
    jobs.run_job(first.pk)
    jobs.run_job(second.pk)
    case.refresh_from_db()
    assert case.owner == mara
    assert results(second)[case.pk][0] == "skipped"


def test_rights_are_asked_again_for_each_row(north: Site) -> None:
    mara = make_user(name="mara", site=north)
    case, south = failed(north), failed(make_site("SOUTH"))
    asked = {"pick": [case.pk, south.pk], "reason": "Mine", "to": mara.pk}
    started = client_of(mara).post("/exceptions/bulk/assign/", asked)
    assert list(JobItem.objects.values_list("subject_id", flat=True)) == [case.pk]
    mara.role_assignments.update(role=Role.READER)
    assert results(run(started))[case.pk] == ("skipped", "You may not settle cases of its site.")


def test_what_a_job_did_is_handed_back_from_its_page(north: Site) -> None:
    mara = make_user(name="mara")
    mine, other = failed(north), failed(north)
    client = client_of(mara)
    job = run(client.post("/exceptions/bulk/assign/", {"pick": [mine.pk], "reason": "Mine", "to": mara.pk}))
    assert "Hand them back…" in client.get(f"/jobs/{job.pk}/").text
    exceptions.claim_case(other.pk, user=mara)
    run(client.post("/exceptions/bulk/hand-back/", {"job": job.pk, "reason": "Wrong filter"}))
    mine.refresh_from_db()
    other.refresh_from_db()
    assert (mine.owner, other.owner) == (None, mara)


def test_a_few_are_assigned_at_once_and_handed_back_by_undo(north: Site) -> None:
    mara = make_user(name="mara")
    case = failed(north)
    client = client_of(mara)
    answer = client.post("/exceptions/claim/", {"pick": [case.pk]}, headers={"HX-Request": "true"})
    assert answer.status_code == 204
    assert f"/exceptions/hand-back/?pick={case.pk}" in answer.headers["HX-Trigger"]
    client.post(f"/exceptions/hand-back/?pick={case.pk}")
    case.refresh_from_db()
    assert case.owner is None


def test_more_than_a_job_does_are_refused(north: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciliation.views.bulk.MOST_ROWS", 1)
    failed(north)
    failed(north)
    mara = make_user(name="mara")
    asked = {"all": "1", "filter": "site=all", "reason": "Mine", "to": mara.pk}
    answer = client_of(mara).post("/exceptions/bulk/assign/", asked, follow=True)
    assert "Nothing was changed: more than" in answer.text
    assert not Job.objects.exists()
