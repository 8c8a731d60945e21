"""The ledger: what is left open at the end, what is read again, and what the report tells of each study."""

import datetime as dt
import time
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from orchestrator.simulator import ledger as module
from orchestrator.simulator.archive import Mood
from orchestrator.simulator.archives import Archives
from orchestrator.simulator.faults import FAULTS
from orchestrator.simulator.judge import judge
from orchestrator.simulator.ledger import Entry, Ledger
from orchestrator.simulator.orders import Exam
from orchestrator.simulator.planner import Planner, run_stamp
from orchestrator.simulator.rest import Api
from orchestrator.simulator.truth import Found, Judgement, Verdict
from tests.orchestrator.simulator.told import OBJECTS, STRANGER, case, claim, found, record, study

NOBODY = Api("127.0.0.1", 1, "")


@pytest.fixture
def exam() -> Exam:
    return Planner(seed=3, stamp=run_stamp()).plain(1, dt.datetime.now(tz=dt.UTC).astimezone())


def entry(exam: Exam) -> Entry:
    return Entry(exam, "1.2.3", steps=[exam.order], own=OBJECTS)


def read_as(monkeypatch: pytest.MonkeyPatch, *told: Found) -> None:
    """What is read of every study: one after the other, and from then on the last."""
    following = iter(told)
    last: list[Found] = []

    class Reading:
        def __init__(self, *_: Any) -> None:
            last[:] = [next(following, *last)]

        def look(self, _entry: Entry) -> Found:
            return last[0]

    monkeypatch.setattr(module, "Reading", Reading)


def test_only_what_had_no_time_to_happen_is_left_open(exam: Exam) -> None:
    ledger = Ledger()
    for verdict, ago in ((Verdict.UNEXPLAINED, 5), (Verdict.UNEXPLAINED, 600), (Verdict.WRONG, 5), (Verdict.RIGHT, 5)):
        made = entry(exam)
        ledger.add(made)
        made.touched_at, made.read = time.monotonic() - ago, Judgement(verdict, "as it was read")
    ledger.leave_the_latest_open(patience=120)
    told = [each.read.verdict for each in ledger.entries]
    assert told == [Verdict.NOT_JUDGED, Verdict.UNEXPLAINED, Verdict.WRONG, Verdict.RIGHT]
    assert ledger.entries[0].read.reason == "the hospital closed early: as it was read"


@pytest.mark.parametrize(("moody", "verdict"), [(True, Verdict.NOT_JUDGED), (False, Verdict.UNEXPLAINED)])
def test_what_an_archive_lacks_that_was_not_fine_is_left_open(exam: Exam, *, moody: bool, verdict: Verdict) -> None:
    ledger, archives = Ledger(), Archives(lambda _line: None)
    ledger.archives = archives
    for mood in (Mood.FULL, Mood.FINE) if moody else ():
        archives.main.turn(mood)
    nothing = {"all_to": "ARCHIVE", "kept": {"ARCHIVE": dict[str, Any]()}}
    lost = study(exam, number_of_instances=3)
    for told in (found(exam, **nothing), found(exam, study=lost, **nothing)):
        made = entry(exam)
        ledger.add(made)
        made.touched_at, made.read = time.monotonic() - 200, judge(made, told)
    ledger.leave_the_latest_open(patience=120)
    assert [each.read.verdict for each in ledger.entries] == [verdict, Verdict.UNEXPLAINED]


def test_what_was_settled_and_is_no_longer_is_waited_for_again(exam: Exam, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = found(exam, study=study(exam, number_of_instances=3))
    read_as(monkeypatch, found(exam), lost, lost, found(exam))
    ledger = Ledger()
    ledger.add(entry(exam))
    ledger.await_outcome(NOBODY, Event(), 5.0, lambda _line: None)
    [made] = ledger.entries
    assert made.judgement.verdict is Verdict.RIGHT


def test_what_stays_lost_is_unexplained_when_patience_ends(exam: Exam, monkeypatch: pytest.MonkeyPatch) -> None:
    read_as(monkeypatch, found(exam, study=study(exam, number_of_instances=3)))
    ledger = Ledger()
    ledger.add(entry(exam))
    ledger.await_outcome(NOBODY, Event(), 0.6, lambda _line: None)
    assert ledger.report()["unexplained"] == 1


@pytest.fixture
def mixed(exam: Exam) -> Exam:
    other = Planner(seed=3, stamp=run_stamp()).beside(exam)
    return replace(exam, fault=FAULTS["second_patient"], neighbour=other)


def test_the_report_tells_what_fiducial_did_and_who_else_is_in_it(mixed: Exam, monkeypatch: pytest.MonkeyPatch) -> None:
    told = found(mixed, claim(mixed, "person"), cases=[case("TWO_PATIENTS", "study_uid_conflict", None)])
    read_as(monkeypatch, told)
    ledger = Ledger()
    ledger.add(entry(mixed))
    ledger.read_outcome(NOBODY)
    [detail] = ledger.report()["details"]
    assert mixed.neighbour is not None
    assert detail["neighbour"]["patient"]["value"] == mixed.neighbour.person.patient_id
    assert detail["neighbour"]["accession_number"] == mixed.neighbour.order.accession_number
    [shown] = detail["told"]["claims"]
    assert (shown["identity"], shown["matched_by"]) == ("MATCHED", "person")
    assert shown["order"]["accession_number"] == mixed.order.accession_number
    assert detail["told"]["patient"] == record(mixed.person)["identifiers"]
    assert STRANGER not in detail["told"]["patient"]
    assert mixed.person.family not in str(ledger.report())


def test_images_of_another_day_are_told_and_counted_as_such_where_nothing_else_went_wrong(exam: Exam) -> None:
    ledger = Ledger()
    late = entry(exam)
    late.another_day = True
    for made in (entry(exam), late):
        ledger.add(made)
    report = ledger.report()
    plain, other = report["details"]
    assert plain["explanation"] == "nothing went wrong"
    assert other["explanation"].startswith("images of another day than the order's: a match by itself")
    assert set(report["by_fault"]) == {"none", "another_day"}
    assert not report["faults"]


def test_a_true_order_that_was_not_offered_outweighs_that_somebody_found_it(exam: Exam) -> None:
    made = entry(exam)
    made.read = Judgement(Verdict.RIGHT, "matched to its order, by person")
    made.problem = "the true order is not among the candidates of case 7"
    assert made.judgement.verdict is Verdict.UNEXPLAINED
