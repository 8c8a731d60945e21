"""The hospital against a stand-in over real sockets: what it sends, and how it opens, waits and closes."""

import math
import threading
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.simulator import course, planner, ward
from orchestrator.simulator.archive import Archive
from orchestrator.simulator.archives import Archives
from orchestrator.simulator.mllp_out import Sender
from orchestrator.simulator.modality import Modality
from orchestrator.simulator.peer import Peer
from orchestrator.simulator.sites import STATIONS
from orchestrator.simulator.truth import Number
from orchestrator.simulator.ward import Hospital, Programme, Targets
from tests.orchestrator.simulator.least_sense import Known
from tests.orchestrator.simulator.playing import PROGRAMME, always, only, run
from tests.orchestrator.simulator.stand_in import stand_in


def test_without_faults_every_patient_becomes_a_study_that_is_right() -> None:
    known = Known()
    with stand_in(known) as targets:
        report = run(targets, replace(PROGRAMME, patients=12))

    assert report["studies"] == report["right"] >= 12
    assert report["held"] == 0
    assert (report["wrong"], report["unexplained"], report["not_judged"]) == (0, 0, 0)
    assert report["verified"] is True
    assert report["messages_sent"] == len(known.messages) >= 24
    assert report["messages_refused"] == 0
    assert report["instances_sent"] == sum(len(objects) for objects in known.studies.values())
    assert len(report["details"]) == report["studies"]
    steps = known.finished.values()
    assert {step.PerformedProcedureStepStatus for step in steps} == {"COMPLETED"}
    listed = {
        reference.ReferencedSOPInstanceUID
        for step in steps
        for series in step.PerformedSeriesSequence
        for reference in series.ReferencedImageSequence
    }
    sent = [ds for objects in known.studies.values() for ds in objects.values()]
    assert listed == {ds.SOPInstanceUID for ds in sent if ds.calling != "AI_BOX"}
    assert {ds.calling for ds in sent} >= {"AI_BOX"}


@pytest.mark.parametrize(
    ("turn", "studies"),
    [
        ("appended", 1),
        ("two_procedures", 2),
        ("two_steps", 1),
        ("corrected", 1),
        ("rescheduled", 1),
        ("canceled", 1),
    ],
)
def test_a_turn_of_life_is_no_fault(turn: str, studies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    always(monkeypatch, **{turn: 1.0})
    monkeypatch.setattr(planner, "_TWO_STEPS", {station.modality for station in STATIONS})
    known = Known()
    with stand_in(known) as targets:
        report = run(targets, replace(PROGRAMME, patients=2))

    assert (report["right"], report["studies"]) == (2 * studies, 2 * studies), report["details"]
    assert len(known.finished) == (4 if turn in ("appended", "two_procedures", "two_steps") else 2)


def test_one_study_for_two_orders_names_both_and_neither_as_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    always(monkeypatch, group=1.0)
    known = Known()
    with stand_in(known) as targets:
        report = run(targets, replace(PROGRAMME, patients=12, patience=2))

    detail = next(each for each in report["details"] if each["also_satisfies"])
    for ds in known.studies[detail["study_instance_uid"]].values():
        if ds.calling != "AI_BOX":
            named = [item.AccessionNumber for item in ds.RequestAttributesSequence]
            assert named == [detail["accession_number"], *detail["also_satisfies"]]
            assert ds.AccessionNumber == ""
    # The stand-in knows one order of a study only.
    assert detail["reason"].startswith("not matched to its order ")


def test_reports_are_sent_only_when_asked_for() -> None:
    for asked in (False, True):
        known = Known()
        with stand_in(known) as targets:
            run(targets, replace(PROGRAMME, patients=2, reports=asked, patience=2))
        assert any("|ORU^R01^" in message for message in known.messages) == asked


def test_a_lost_answer_sends_the_same_message_again() -> None:
    known = Known(silent_answers=2)
    with stand_in(known) as targets:
        report = run(targets, replace(PROGRAMME, patients=1))

    assert report["right"] == 1
    assert report["messages_sent"] == len(known.messages)


def test_a_broken_association_sends_what_was_not_acknowledged_again() -> None:
    known = Known(broken_stores=2)
    with stand_in(known) as targets:
        report = run(targets, replace(PROGRAMME, patients=1))

    assert report["right"] == 1
    assert report["instances_sent"] == len(known.stores)
    assert set(known.stores.values()) == {1}


def test_a_hospital_that_opens_before_fiducial_waits_for_it() -> None:
    known, reports, refused = Known(), list[dict[str, Any]](), threading.Event()
    with stand_in(known) as targets:
        port = targets.hl7[1]
    # Nothing listens now: the first tries fail.
    exchange = Sender._exchange

    def watched(self: Sender, payload: bytes) -> bytes:
        try:
            return exchange(self, payload)
        except ConnectionRefusedError:
            refused.set()
            raise

    with pytest.MonkeyPatch.context() as patch, stand_in(known) as other:
        patch.setattr(Sender, "_exchange", watched)
        late = replace(other, hl7=("127.0.0.1", port))
        thread = threading.Thread(target=lambda: reports.append(run(late, replace(PROGRAMME, patients=1))))
        thread.start()
        assert refused.wait(10)
        with stand_in(known, hl7_port=port):
            thread.join(30)
    assert reports
    assert reports[0]["right"] == 1


def test_a_fiducial_that_is_not_there_ends_a_finite_run() -> None:
    lines: list[str] = []
    with stand_in(Known()) as gone:
        pass
    report = run(gone, replace(PROGRAMME, patients=500, patience=1), lines)

    assert report["studies"] == 0
    assert 1 <= report["unexplained"] < 20
    assert "did not answer" in report["details"][0]["reason"]
    assert "Fiducial does not answer: no more patients are let in" in lines


def test_without_a_token_the_report_claims_nothing_about_fiducial() -> None:
    lines: list[str] = []
    with stand_in(Known()) as targets:
        report = run(replace(targets, token=""), replace(PROGRAMME, patients=2), lines)

    assert (report["studies"], report["not_judged"], report["verified"]) == (2, 2, False)
    assert (report["right"], report["held"], report["wrong"], report["unexplained"]) == (0, 0, 0, 0)
    assert any(line.startswith("no token") for line in lines)


def test_a_wrong_token_is_said_and_nothing_is_judged() -> None:
    lines: list[str] = []
    with stand_in(Known()) as targets:
        report = run(replace(targets, token="another"), replace(PROGRAMME, patients=1, patience=1), lines)

    assert (report["verified"], report["not_judged"]) == (False, 1)
    assert any("401" in line for line in lines)


def test_history_is_spread_over_the_past_days() -> None:
    known = Known()
    with stand_in(known) as targets:
        report = run(targets, replace(PROGRAMME, patients=6, history_days=3))

    assert report["right"] == report["studies"] >= 6
    dates = {ds.StudyDate for objects in known.studies.values() for ds in objects.values()}
    assert len(dates) == 3
    assert dates == {step["start"][:8] for step in known.steps.values()}


def test_an_exam_that_the_closing_cut_short_is_in_the_calendar_and_not_judged() -> None:
    known, stop = Known(), threading.Event()

    def say(line: str) -> None:
        if "ADT^A0" in line:
            stop.set()

    with stand_in(known) as targets:
        report = Hospital(targets, replace(PROGRAMME, history_days=3), stop, say).run(None)

    told = {(each["issuer"], each["value"]) for page in report["calendar"] for each in page["patients"]}
    assert known.patients
    assert set(known.patients) <= told
    assert report["not_judged"] >= 1
    assert (report["wrong"], report["unexplained"]) == (0, 0)


def test_an_exam_in_which_the_simulator_failed_is_in_the_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(course.Course, "examine", fail)
    known = Known()
    with stand_in(known) as targets:
        report = run(targets, replace(PROGRAMME, patients=2, history_days=3, patience=2))

    told = {(each["issuer"], each["value"]) for page in report["calendar"] for each in page["patients"]}
    assert set(known.patients) <= told
    assert {each["reason"] for each in report["details"]} == {"the simulator failed: ZeroDivisionError"}


def test_as_many_exams_are_under_way_together_as_there_are_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(ward._AT_ONCE, timeout=20)

    def meet(*_: Any) -> None:
        together.wait()

    monkeypatch.setattr(course.Course, "arrive", meet)
    monkeypatch.setattr(course.Course, "examine", lambda *_: None)
    monkeypatch.setattr(course.Course, "chosen", lambda *_: None)
    with stand_in(Known()) as targets:
        report = run(targets, replace(PROGRAMME, patients=ward._AT_ONCE, patience=1))
    assert {each["reason"] for each in report["details"]} == {"Fiducial was not asked"}


def test_systems_and_consoles_that_restart_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # At the usual rate nothing would happen in time.
    monkeypatch.setattr(ward, "_UP", (50.0, 100.0))
    monkeypatch.setattr(ward, "_DOWN", (0.0, 0.2))
    lines: list[str] = []
    with stand_in(Known()) as targets:
        report = run(targets, replace(PROGRAMME, moods=1000.0), lines)
    assert report["right"] == report["studies"] >= 6
    restarted = [line for line in lines if line.endswith(" restarts")]
    assert any(" of " in line for line in restarted)
    assert any("_" in line and " of " not in line for line in restarted)


def test_the_same_seed_brings_the_same_people_and_new_numbers() -> None:
    first, second = Known(), Known()
    for known in (first, second):
        with stand_in(known) as targets:
            run(targets, replace(PROGRAMME, patients=4))

    names = [sorted(patient.name for patient in known.patients.values()) for known in (first, second)]
    assert names[0] == names[1]
    assert not set(first.steps) & set(second.steps)
    assert not set(first.studies) & set(second.studies)


def test_an_endless_hospital_closes_when_told() -> None:
    known, stop, reports, lines = Known(), threading.Event(), list[dict[str, Any]](), list[str]()
    sent = threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        if "sent study" in line:
            sent.set()

    programme = Programme(rate=600, seed=5, patience=20)
    with stand_in(known) as targets, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ward, "LIFELIKE", course.Tempo(acquisition=(0, 0), hour=0))
        hospital = Hospital(targets, programme, stop, say)
        thread = threading.Thread(target=lambda: reports.append(hospital.run(None)))
        thread.start()
        assert sent.wait(30)
        stop.set()
        thread.join(30)

    assert not thread.is_alive()
    assert "the hospital closes" in lines
    assert reports[0]["wrong"] == reports[0]["unexplained"] == 0


def test_the_archive_counts_what_it_is_given() -> None:
    known, archive = Known(), Archive("ARCHIVE", lambda line: None)
    with stand_in(known) as targets:
        run(targets, replace(PROGRAMME, patients=2))
    port = archive.open(0)
    try:
        sender = Modality(STATIONS[0], Peer("127.0.0.1", port, "ARCHIVE", "CT_NORTH", threading.Event(), 10))
        for objects in known.studies.values():
            sender.send(list(objects.values()))
    finally:
        archive.close()
    sent = sum(len(objects) for objects in known.studies.values())
    assert archive.received == {"studies": len(known.studies), "instances": sent}


def test_the_ledger_knows_the_messages_of_each_exam() -> None:
    known = Known()
    with stand_in(known) as targets:
        hospital = Hospital(targets, only("message_anew", patients=2), threading.Event(), lambda _line: None)
        hospital.run(None)
    sent = set[Number]()
    for message in known.messages:
        header = message.split("\r")[0].split("|")
        sent.add((header[9], header[8].rpartition("^")[0]))
    first, second = (entry.messages for entry in hospital.ledger.entries)
    assert first | second == sent
    assert not first & second


@pytest.mark.parametrize("once", [True, False])
def test_the_archives_of_a_run_that_ends_remember_all_that_is_judged(*, once: bool) -> None:
    archives, stop = Archives(lambda _line: None), threading.Event()
    stop.set()
    Hospital(Targets(), replace(PROGRAMME, once=once), stop, lambda _line: None).run(archives)
    assert (archives.main.remembers == archives.night.remembers == math.inf) is once
