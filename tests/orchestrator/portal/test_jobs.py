"""One's jobs: progress, results per row, stop; and nobody else's."""

import datetime as dt

import pytest
from django.test import Client
from django.utils import timezone

from orchestrator.models import Job, JobItem, User
from orchestrator.services import bulk, jobs
from orchestrator.states import JobStatus
from orchestrator.views import lists
from tests.factories import make_user

pytestmark = pytest.mark.django_db

PART = {"HX-Request": "true", "HX-Request-Type": "partial"}


def count(job: object) -> dict[str, object]:
    """A job of the tests: even rows are done, the first odd one is left, the others fail."""

    def do(_viewer: object, _user: User, key: int, _seen: str) -> None:
        if key == 1:
            raise bulk.Left("It is odd.")
        if key % 2:
            raise RuntimeError(key)

    return bulk.run(job, do)  # type: ignore[arg-type]


@pytest.fixture
def owner() -> User:
    return make_user(name="owner")


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def start(owner: User, rows: int = 4) -> int:
    parameters = {"reason": "disk freed", "row_url": "delivery", "row_name": "Delivery "}
    rows_seen = [(number, "") for number in range(rows)]
    return bulk.start(f"{__name__}.count", title="Count", owner=owner, rows=rows_seen, parameters=parameters).pk


def test_each_row_has_its_result_and_one_that_fails_ends_nothing(owner: User) -> None:
    pk = start(owner)
    waiting = client_of(owner).get(f"/jobs/{pk}/").text
    assert "Still to do" in waiting
    assert "0 of 4" in waiting
    jobs.run_job(pk)
    page = client_of(owner).get(f"/jobs/{pk}/")
    assert page.context["job"].status == JobStatus.DONE
    assert "1 left as it is" in page.text
    assert "1 failed" in page.text
    assert "It is odd." in page.text
    assert "disk freed" in page.text
    failed = client_of(owner).get(f"/jobs/{pk}/?outcome=failed")
    assert [row["item"].subject_id for row in failed.context["rows"]] == [3]
    assert 'href="/deliveries/3/"' in failed.text


def test_a_job_whose_worker_died_goes_on_where_it_was(owner: User) -> None:
    pk = start(owner)
    JobItem.objects.filter(job=pk, subject_id=0).update(outcome=JobItem.Outcome.SKIPPED, text="as the first worker saw")
    jobs.run_job(pk)
    page = client_of(owner).get(f"/jobs/{pk}/?outcome=skipped")
    assert [row["item"].text for row in page.context["rows"]] == ["as the first worker saw", "It is odd."]
    assert page.context["job"].done == 4


def test_a_job_that_goes_on_began_when_it_first_began(owner: User) -> None:
    pk = start(owner)
    began = timezone.now() - dt.timedelta(minutes=10)
    Job.objects.filter(pk=pk).update(status=JobStatus.RUNNING, started_at=began)
    jobs.run_job(pk)
    assert Job.objects.get(pk=pk).started_at == began


def test_a_job_is_forgotten_months_after_its_end(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_ROWS_AT_ONCE", 3)
    old, recent = start(owner), start(owner)
    for pk, days in ((old, 181), (recent, 179)):
        jobs.run_job(pk)
        Job.objects.filter(pk=pk).update(finished_at=timezone.now() - dt.timedelta(days=days))
    left = []
    for _ in range(4):
        jobs.forget_old()
        left.append(JobItem.objects.count())
    assert left == [5, 4, 4, 4]
    assert list(Job.objects.values_list("pk", flat=True)) == [recent]


def test_a_stopped_job_says_what_it_did_not_do(owner: User) -> None:
    pk = start(owner)
    client = client_of(owner)
    assert client.post(f"/jobs/{pk}/stop/", headers=PART).status_code == 204
    assert "Stopping" in client.get(f"/jobs/{pk}/").text
    jobs.run_job(pk)
    page = client.get(f"/jobs/{pk}/")
    assert page.context["job"].status == JobStatus.STOPPED
    assert JobItem.objects.filter(job=pk, outcome=JobItem.Outcome.WAITING).count() == 4


def test_jobs_are_listed_told_in_the_top_bar_and_private(owner: User) -> None:
    pk = start(owner)
    mine, other = client_of(owner), client_of(make_user())
    assert "Count" in mine.get("/jobs/").text
    sign = mine.get("/jobs/running/", headers=PART)
    assert "0 of 4" in sign.text
    assert "every 3s" in sign.text
    same = mine.get("/jobs/running/", headers={**PART, "If-None-Match": sign.headers["ETag"]})
    assert same.status_code == 304
    assert "You have started no job yet" in other.get("/jobs/").text
    assert "Count" not in other.get("/jobs/running/", headers=PART).text
    assert other.get(f"/jobs/{pk}/").status_code == 404
    assert other.post(f"/jobs/{pk}/stop/").status_code == 404


def test_what_a_job_says_in_minutes_is_told_anew_and_so_is_that_it_stops(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    pk, client = start(owner), client_of(owner)
    now, later = (dt.datetime(2026, 7, 5, 10, minute, tzinfo=dt.UTC) for minute in (30, 31))
    for path in ("/jobs/", f"/jobs/{pk}/"):
        Job.objects.filter(pk=pk).update(stop_requested=False)
        monkeypatch.setattr(lists, "minute", lambda: now)
        shown = {**PART, "If-None-Match": client.get(path, headers=PART).headers["ETag"]}
        assert client.get(path, headers=shown).status_code == 304
        monkeypatch.setattr(lists, "minute", lambda: later)
        assert client.get(path, headers=shown).status_code == 200, path
        monkeypatch.setattr(lists, "minute", lambda: now)
        Job.objects.filter(pk=pk).update(stop_requested=True)
        assert "Stopping" in client.get(path, headers=shown).text, path


def test_results_come_in_pages(owner: User) -> None:
    pk = start(owner, 70)
    first = client_of(owner).get(f"/jobs/{pk}/")
    second = client_of(owner).get(first.context["next"])
    keys = [row["item"].subject_id for page in (first, second) for row in page.context["rows"]]
    assert keys == list(range(70))
    assert second.context["next"] == ""
