"""The same for many cases: shown first, frozen at the start, judged one by one, told row by row."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orchestrator.models import ExceptionCase, Job, JobItem, Role, Site, User, WorkflowEvent
from orchestrator.services import exceptions, jobs
from orchestrator.states import CaseStatus
from orchestrator.views.events import entry
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


def undo_of(answer: Any) -> str:
    return str(json.loads(answer.headers["HX-Trigger"])["toast"]["undo_url"])


def results(job: Job) -> dict[int, tuple[str, str]]:
    return {item.subject_id: (item.outcome, item.text) for item in job.items.all()}


def test_it_says_first_how_many_and_why_others_are_left(north: Site) -> None:
    mara, ines = make_user(name="mara"), make_user(name="ines")
    free, held, theirs = failed(north), failed(north, "unmatched_study"), failed(north)
    exceptions.claim_case(theirs.pk, user=ines)
    picked = {"pick": [free.pk, held.pk, theirs.pk]}
    asked = client_of(mara).post("/exceptions/bulk/dismiss/", picked)
    assert "Dismiss 3 exceptions?" in asked.text
    assert "1 is settled without doing anything" in asked.text
    assert "1 left as it is: with somebody else, who keeps them." in asked.text
    assert "1 left as it is: held images, which are matched or rejected, not dismissed." in asked.text
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
    client = client_of(mara)
    meant = {"all": "1", "filter": "kind=delivery_failed&site=all"}
    seen = client.post("/exceptions/bulk/assign/", meant).context["seen"]
    late = failed(north)
    asked = {**meant, "seen": seen, "reason": "Mine", "to": mara.pk}
    job = run(client.post("/exceptions/bulk/assign/", asked))
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


def test_cases_are_given_to_who_settles_them_there_and_nobody_else_is_named(north: Site) -> None:
    south = make_site("SOUTH", issuer="")
    mara, ines = make_user(name="mara", site=north), make_user(name="ines", site=north)
    chief, sven = make_user(name="chief"), make_user(name="sven", site=south)
    make_user(Role.READER, name="rita", site=north)
    picked = {"pick": [failed(north).pk]}
    asked = client_of(mara).post("/exceptions/bulk/assign/", picked)
    assert {key for key, _ in asked.context["form"].fields["to"].choices} == {mara.pk, ines.pk, chief.pk}
    assert client_of(mara).post("/exceptions/bulk/assign/", {**picked, "reason": "x", "to": sven.pk}).status_code == 422
    everybody = client_of(chief).post("/exceptions/bulk/assign/", picked).context["form"].fields["to"].choices
    assert {key for key, _ in everybody} == {mara.pk, ines.pk, chief.pk, sven.pk}


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


@pytest.mark.parametrize("act", ["assign", "snooze"])
def test_what_a_job_did_is_handed_back_to_whom_it_was_with(north: Site, act: str) -> None:
    mara, ines = make_user(name="mara"), make_user(name="ines")
    mine, escalated, woken, again = (failed(north) for _ in range(4))
    exceptions.claim_case(mine.pk, user=mara)
    exceptions.escalate(escalated.pk, user=mara, to=ines, reason="Hard")
    client, picked = client_of(mara), [case.pk for case in (mine, escalated, woken, again)]
    asked = {"pick": picked, "reason": "Ours", "to": ines.pk, "hours": "1"}
    job = run(client.post(f"/exceptions/bulk/{act}/", asked))
    if act == "snooze":
        ExceptionCase.objects.filter(pk__in=[woken.pk, escalated.pk]).update(snoozed_until=timezone.now())
        exceptions.wake_snoozed()
    exceptions.escalate(again.pk, user=ines if act == "assign" else mara, to=None, reason="Harder")
    shown = client.post("/exceptions/bulk/hand-back/", {"job": job.pk})
    assert "3 are as they were before, with whom they were" in shown.text
    assert "1 left as it is: changed since." in shown.text
    undone = run(client.post("/exceptions/bulk/hand-back/", {"job": job.pk, "reason": "Wrong filter"}))
    assert results(undone)[again.pk] == ("skipped", f"{again} changed since: it is escalated.")
    stand = {case: (case.status, case.owner) for case in ExceptionCase.objects.all()}
    assert stand == {
        mine: (CaseStatus.CLAIMED, mara),
        escalated: (CaseStatus.ESCALATED, ines),
        woken: (CaseStatus.OPEN, None),
        again: (CaseStatus.ESCALATED, None),
    }


def test_a_few_are_assigned_at_once_and_handed_back_by_undo(north: Site) -> None:
    mara = make_user(name="mara")
    case = failed(north)
    client = client_of(mara)
    answer = client.post("/exceptions/claim/", {"pick": [case.pk]}, headers={"HX-Request": "true"})
    assert answer.status_code == 204
    client.post(undo_of(answer))
    case.refresh_from_db()
    assert case.owner is None


def test_more_that_match_since_the_question_are_asked_about_again(north: Site) -> None:
    mara, ines = make_user(name="mara"), make_user(name="ines")
    free, theirs = failed(north), failed(north)
    exceptions.claim_case(theirs.pk, user=ines)
    client, meant = client_of(mara), {"all": "1", "filter": "site=all"}
    shown = client.post("/exceptions/bulk/dismiss/", meant)
    assert "Dismiss 1</button>" in shown.text
    exceptions.hand_back(theirs.pk, user=ines, reason="Away")
    answer = client.post("/exceptions/bulk/dismiss/", {**meant, "seen": shown.context["seen"], "reason": "Outage"})
    assert answer.status_code == 409
    assert "Dismiss 2</button>" in answer.text
    assert not Job.objects.exists()
    exceptions.dismiss(free.pk, user=mara, reason="Done")
    run(client.post("/exceptions/bulk/dismiss/", {**meant, "seen": answer.context["seen"], "reason": "Outage"}))
    theirs.refresh_from_db()
    assert theirs.status == CaseStatus.DISMISSED


def test_what_was_assigned_to_a_colleague_is_handed_back_while_they_have_not_touched_it(north: Site) -> None:
    mara, ines = make_user(name="mara"), make_user(name="ines")
    untouched, touched, own = failed(north), failed(north), failed(north)
    client = client_of(mara)
    asked = {"pick": [untouched.pk, touched.pk], "reason": "Yours", "to": ines.pk}
    job = run(client.post("/exceptions/bulk/assign/", asked))
    exceptions.hand_back(touched.pk, user=ines, reason="No")
    exceptions.claim_case(touched.pk, user=ines)
    exceptions.claim_case(own.pk, user=ines)
    shown = client.post("/exceptions/bulk/hand-back/", {"job": job.pk}).text
    assert "Hand back 1</button>" in shown
    assert "1 left as it is: changed since." in shown
    undone = run(client.post("/exceptions/bulk/hand-back/", {"job": job.pk, "reason": "Wrong filter"}))
    assert results(undone)[untouched.pk] == ("done", "")
    assert results(undone)[touched.pk] == ("skipped", f"{touched} changed since: it is claimed, with ines.")
    picked = run(client.post("/exceptions/bulk/hand-back/", {"pick": [own.pk], "reason": "Not mine"}))
    assert results(picked)[own.pk][0] == "skipped"
    untouched.refresh_from_db()
    assert (untouched.status, untouched.owner) == (CaseStatus.OPEN, None)


def test_the_undo_of_a_claim_restores_what_was_before_and_leaves_what_was_mine(north: Site) -> None:
    mara, ines = make_user(name="mara"), make_user(name="ines")
    mine, escalated = failed(north), failed(north)
    exceptions.claim_case(mine.pk, user=mara)
    exceptions.escalate(escalated.pk, user=mara, to=ines, reason="Hard")
    client = client_of(mara)
    answer = client.post("/exceptions/claim/", {"pick": [mine.pk, escalated.pk]}, headers={"HX-Request": "true"})
    told = json.loads(answer.headers["HX-Trigger"])["toast"]
    assert told["message"] == f"1 assigned to you. {mine} is yours already."
    client.post(undo_of(answer))
    for case, status, owner in ((mine, CaseStatus.CLAIMED, mara), (escalated, CaseStatus.ESCALATED, ines)):
        case.refresh_from_db()
        assert (case.status, case.owner) == (status, owner)


def test_the_undo_of_a_claim_is_no_second_escalation(north: Site) -> None:
    mara, ines = make_user(name="mara"), make_user(name="ines")
    case = failed(north)
    exceptions.escalate(case.pk, user=mara, to=ines, reason="Hard")
    client = client_of(mara)
    client.post(undo_of(client.post("/exceptions/claim/", {"pick": [case.pk]}, headers={"HX-Request": "true"})))
    told = list(WorkflowEvent.objects.filter(subject_type="exceptioncase", subject_id=case.pk).order_by("pk"))
    assert [event.name for event in told] == ["case.opened", "case.escalated", "case.claimed", "case.unclaimed"]
    assert (told[-1].from_state, told[-1].to_state) == (CaseStatus.CLAIMED, CaseStatus.ESCALATED)
    assert entry(told[-1])["text"] == "Taken back"


def test_a_claim_of_a_few_leaves_those_of_other_sites_and_says_so(north: Site) -> None:
    south = make_site("SOUTH", issuer="")
    mara = make_user(Role.MANAGER, name="mara")
    mara.role_assignments.create(role=Role.PACS_ADMINISTRATOR, site=south)
    case, other = failed(south), failed(north)
    answer = client_of(mara).post("/exceptions/claim/", {"pick": [case.pk, other.pk]}, headers={"HX-Request": "true"})
    told = json.loads(answer.headers["HX-Trigger"])["toast"]["message"]
    assert told == "1 assigned to you. 1 settled, asleep or of a site where you may not."
    other.refresh_from_db()
    assert other.owner is None


def test_a_case_that_woke_up_is_nobodys_after_it_was_handed_back(north: Site) -> None:
    mara = make_user(name="mara")
    case = failed(north)
    exceptions.snooze(case.pk, user=mara, until=timezone.now(), reason="Later")
    exceptions.wake_snoozed()
    run(client_of(mara).post("/exceptions/bulk/hand-back/", {"pick": [case.pk], "reason": "Not mine"}))
    case.refresh_from_db()
    assert (case.status, case.owner) == (CaseStatus.OPEN, None)


def test_more_than_a_job_does_are_refused(north: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.views.bulk.MOST_ROWS", 1)
    failed(north)
    failed(north)
    mara = make_user(name="mara")
    client, meant = client_of(mara), {"all": "1", "filter": "site=all"}
    with CaptureQueriesContext(connection) as captured:
        first = client.post("/exceptions/bulk/assign/", meant)
    # Not counted one by one before it is said.
    assert not any("GROUP BY" in query["sql"] for query in captured)
    asked = {**meant, "seen": first.context["seen"], "reason": "Mine", "to": mara.pk}
    for answer in first, client.post("/exceptions/bulk/assign/", asked):
        assert answer.status_code == 409
        assert "Nothing was changed: more than 1 are meant." in answer.text
    assert not Job.objects.exists()
