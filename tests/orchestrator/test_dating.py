"""What a simulated hospital has played lands on its days, whole and in order, and nothing else is touched."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from orchestrator.models import (
    ExceptionCase,
    ImagingServiceRequest,
    InboundMessage,
    Patient,
    Study,
    WorkflowEvent,
)
from orchestrator.services import exceptions
from orchestrator.services.dating import Unfit, _write, date_back
from orchestrator.services.workflow import record
from reconciliation.models import MatchRun
from reconciliation.services.reconcile import reconcile_study
from tests.factories import make_order, make_patient, make_site, make_study, step_of
from worklists.models import WorklistQuery

pytestmark = pytest.mark.django_db

WEEKS_AGO = dt.timedelta(days=21)


@pytest.fixture
def held() -> Study:
    """An exam just played: an order, and a study of it that a person has to look at."""
    order = make_order(filler_order_number="F1")
    study = make_study(order, patient_id="typed", patient_name="Do^Jane", accession_number="")
    reconcile_study(study.pk)
    return study


def exam(*orders: ImagingServiceRequest, studies: list[Study], turns: list[tuple[dt.datetime, dt.datetime]]) -> Any:
    return {
        "exam": 1,
        "patients": [
            {"value": each.value, "issuer": each.issuer.namespace}
            for order in orders
            for each in order.patient.identifiers.all()
        ],
        "orders": [
            {"filler_order_number": each.filler_order_number, "accession_number": each.accession_number}
            for each in orders
        ],
        "studies": [each.study_instance_uid for each in studies],
        "turns": [[played.isoformat(), truly.isoformat()] for played, truly in turns],
    }


def played(study: Study, *more: tuple[dt.datetime, dt.datetime]) -> Any:
    """The exam of `held`, three weeks ago."""
    begun = timezone.now() - dt.timedelta(minutes=1)
    return exam(ImagingServiceRequest.objects.get(), studies=[study], turns=[(begun, begun - WEEKS_AGO), *more])


def moments() -> dict[str, list[Any]]:
    return {
        "patients": list(Patient.objects.values_list("created_at", flat=True)),
        "orders": list(ImagingServiceRequest.objects.values_list("created_at", flat=True)),
        "studies": list(Study.objects.values_list("first_received_at", flat=True)),
        "kept": list(Study.history.order_by("pk").values_list("history_date", flat=True)),
        "events": list(
            WorkflowEvent.objects.exclude(name="history.dated_back").order_by("pk").values_list("at", flat=True)
        ),
        "runs": list(MatchRun.objects.values_list("at", flat=True)),
        "cases": list(ExceptionCase.objects.values_list("opened_at", flat=True)),
        "due": list(ExceptionCase.objects.values_list("due_at", flat=True)),
    }  # fmt: skip


def test_everything_of_an_exam_goes_back_together_and_keeps_its_distances(held: Study) -> None:
    before = moments()
    assert len(before["events"]) > 2
    moved = date_back([played(held)])
    assert moments() == {name: [each - WEEKS_AGO for each in values] for name, values in before.items()}
    assert (moved["studies"], moved["exception cases"], moved["workflow events"]) == (1, 1, len(before["events"]))


def test_after_a_turn_time_has_jumped_on(held: Study) -> None:
    turn = timezone.now()
    record("case.updated", ExceptionCase.objects.get())
    settled = turn - WEEKS_AGO + dt.timedelta(days=2)
    date_back([played(held, (turn, settled))])
    opened, updated = WorkflowEvent.objects.filter(name__in=["case.opened", "case.updated"]).order_by("pk")
    assert opened.at < settled <= updated.at < settled + dt.timedelta(minutes=1)


def test_moved_a_second_time_nothing_changes(held: Study) -> None:
    calendar = [played(held)]
    date_back(calendar)
    after = moments()
    assert date_back(calendar) == {}
    assert moments() == after
    assert WorkflowEvent.objects.filter(name="history.dated_back").count() == 1


def test_what_was_there_before_the_exam_was_played_stays(held: Study) -> None:
    long_ago = timezone.now() - dt.timedelta(days=90)
    WorkflowEvent.objects.filter(name="case.opened").update(at=long_ago)
    date_back([played(held)])
    assert WorkflowEvent.objects.get(name="case.opened").at == long_ago


@pytest.mark.parametrize("foreign", [make_patient, make_order, make_study])
def test_where_something_is_of_nobody_in_the_report_nothing_is_touched(held: Study, foreign: Any) -> None:
    calendar = [played(held)]
    foreign()
    before = moments()
    with pytest.raises(Unfit, match=r"1 .* here belongs to no exam of the report"):
        date_back(calendar)
    assert moments() == before


def test_what_was_reckoned_from_the_moments_is_reckoned_anew(
    held: Study, settings: Settings, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    rung: list[dt.datetime] = []
    monkeypatch.setattr(exceptions, "wake_snoozed", lambda: rung.append(Study.objects.get().first_received_at))
    settings.REBUILT_WHEN_DATED = ["orchestrator.services.exceptions.wake_snoozed"]
    with django_capture_on_commit_callbacks(execute=True):
        date_back([played(held)])
    assert rung == [Study.objects.get().first_received_at]


def test_a_query_that_found_nobody_goes_with_the_one_before_it(held: Study) -> None:
    step, now = step_of(ImagingServiceRequest.objects.get()), timezone.now()
    for ids in ([step.pk], []):
        WorklistQuery.objects.create(site=make_site(), ae_title="CT_NORTH", status=0, step_ids=ids, last_at=now)
    date_back([played(held)])
    assert {each.last_at for each in WorklistQuery.objects.all()} == {now - WEEKS_AGO}


def test_a_message_that_names_nobody_goes_with_the_one_before_it(held: Study) -> None:
    now = timezone.now()
    for order in (ImagingServiceRequest.objects.get(), None):
        InboundMessage.objects.create(site=make_site(), raw=b"", digest="", received_at=now, order=order)
    date_back([played(held)])
    assert {each.received_at for each in InboundMessage.objects.all()} == {now - WEEKS_AGO}


def test_a_moment_that_a_worker_writes_meanwhile_stays(held: Study) -> None:
    now = timezone.now()
    message = InboundMessage.objects.create(site=make_site(), raw=b"", digest="", received_at=now, applied_at=now)
    read_before_it_was_applied = (message.pk, now - WEEKS_AGO, None)
    _write(InboundMessage, ["received_at", "applied_at"], [read_before_it_was_applied])
    message.refresh_from_db()
    assert (message.received_at, message.applied_at) == (now - WEEKS_AGO, now)


@pytest.mark.parametrize("by", [dt.timedelta(days=1), -dt.timedelta(days=30)])
def test_a_calendar_that_cannot_be_true_is_refused(held: Study, by: dt.timedelta) -> None:
    now = timezone.now()
    with pytest.raises(Unfit):
        date_back([played(held, (now, now + by))])


def test_the_command_says_what_it_did_and_does_nothing_when_only_asked(
    held: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"calendar": [played(held)]}))
    before = moments()
    call_command("date_back", str(report), "--dry-run")
    assert moments() == before
    call_command("date_back", str(report))
    assert moments() != before
    told = capsys.readouterr()
    assert "1 studies" in told.out
    assert "1 exams from" in told.err


@pytest.mark.parametrize(
    ("content", "told"),
    [("no JSON", "no report"), ("{}", "no calendar"), ('{"calendar": [{"exam": 1}]}', "no calendar that can be read")],
)
def test_what_is_no_report_of_a_history_is_refused_in_one_line(tmp_path: Path, content: str, told: str) -> None:
    report = tmp_path / "report.json"
    report.write_text(content)
    with pytest.raises(CommandError, match=told) as refused:
        call_command("date_back", str(report))
    assert "\n" not in str(refused.value)
    with pytest.raises(CommandError, match="No such file"):
        call_command("date_back", str(tmp_path / "none.json"))


def test_its_cost_grows_with_the_tables_and_not_with_the_rows(held: Study, django_assert_max_num_queries: Any) -> None:
    calendar = [played(held)]
    for _ in range(200):
        record("case.updated", ExceptionCase.objects.get())
    with django_assert_max_num_queries(110):
        date_back(calendar)
