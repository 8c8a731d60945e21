"""The hospital against a stand-in over real sockets: what it sends, and what it concludes."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.simulator import course, faults, orders, ward
from orchestrator.simulator.archive import Archive
from orchestrator.simulator.faults import Fault
from orchestrator.simulator.mllp_out import Sender
from orchestrator.simulator.modality import Modality
from orchestrator.simulator.peer import Peer
from orchestrator.simulator.ward import Hospital, Programme, Targets
from tests.orchestrator.simulator.stand_in import Known, stand_in

PROGRAMME = Programme(patients=6, rate=None, seed=11, once=True, patience=20)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ward, "BRISK", course.Tempo(acquisition=(0, 0), late_order=0.2))


def run(targets: Targets, programme: Programme = PROGRAMME, lines: list[str] | None = None) -> dict[str, Any]:
    lines = [] if lines is None else lines
    return Hospital(targets, programme, threading.Event(), lines.append).run(None)


def only(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    monkeypatch.setattr(faults, "draw", lambda rng, share: fault)


def test_without_faults_every_patient_becomes_a_study_that_is_right() -> None:
    known = Known()
    with stand_in(known) as targets:
        report = run(targets, replace(PROGRAMME, patients=12))

    assert (report["studies"], report["right"], report["held"]) == (12, 12, 0)
    assert (report["wrong"], report["unexplained"], report["not_judged"]) == (0, 0, 0)
    assert report["verified"] is True
    assert report["messages_sent"] == len(known.messages) >= 24
    assert report["messages_refused"] == 0
    assert report["instances_sent"] == sum(len(objects) for objects in known.studies.values())
    assert len(report["details"]) == 12
    steps = known.finished.values()
    assert {step.PerformedProcedureStepStatus for step in steps} == {"COMPLETED"}
    listed = {
        reference.ReferencedSOPInstanceUID
        for step in steps
        for series in step.PerformedSeriesSequence
        for reference in series.ReferencedImageSequence
    }
    assert listed == {uid for objects in known.studies.values() for uid in objects}


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_is_judged_as_the_stand_in_treats_it(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, fault)
    known = Known()
    with stand_in(known) as targets:
        report = run(targets, replace(PROGRAMME, patients=2))

    assert report["faults"] == {fault.name.lower(): 2}
    assert report["studies"] == 2
    assert (report["wrong"], report["unexplained"]) == (0, 0)
    verdict = "held" if fault.holding_is_fair else "right"
    assert report[verdict] == 2, report["details"]


def test_a_hospital_full_of_faults_ends_with_nothing_wrong() -> None:
    known = Known()
    with stand_in(known) as targets:
        report = run(targets, replace(PROGRAMME, patients=24, faults=0.7))

    assert report["studies"] == 24
    assert (report["wrong"], report["unexplained"]) == (0, 0)
    assert report["right"] > 0
    assert report["held"] > 0
    assert len(report["faults"]) >= 5


def test_a_match_to_another_order_is_counted_as_wrong() -> None:
    known = Known()
    with stand_in(known) as targets:
        run(targets, replace(PROGRAMME, patients=1))
        known.matches_everything_to = next(iter(known.orders))
        report = run(targets, replace(PROGRAMME, patients=2, patience=2))

    assert report["wrong"] == 2
    assert "matched to another patient" in report["details"][0]["reason"]


def test_a_hold_without_a_fault_is_unexplained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Known, "_match", lambda self, study, ds: None)
    with stand_in(Known()) as targets:
        report = run(targets, replace(PROGRAMME, patients=2, patience=2))

    assert (report["held"], report["unexplained"]) == (0, 2)
    assert report["details"][0]["reason"] == "held although nothing was wrong"


def test_a_study_that_is_unknown_there_is_unexplained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Known, "resource", lambda self, study: None)
    with stand_in(Known()) as targets:
        report = run(targets, replace(PROGRAMME, patients=1, patience=2))

    assert report["unexplained"] == 1
    assert report["details"][0]["reason"] == "Fiducial does not know the study"


def test_a_canceled_step_that_stays_on_the_worklist_is_unexplained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "CANCELED_SHARE", 1)
    with stand_in(Known(keeps_canceled=True)) as targets:
        report = run(targets, replace(PROGRAMME, patients=1, patience=2))

    assert (report["studies"], report["unexplained"]) == (0, 1)
    assert report["details"][0]["reason"] == "the canceled step stays on the worklist"


def test_a_refused_message_is_counted_and_told() -> None:
    with stand_in(Known(answer_code="AE")) as targets:
        report = run(targets, replace(PROGRAMME, patients=1))

    assert (report["messages_sent"], report["messages_refused"], report["unexplained"]) == (1, 1, 1)
    assert report["details"][0]["reason"].startswith("ADT^A0")
    assert "PID^1^3" in report["details"][0]["reason"]


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

    assert report["right"] == 6
    dates = {ds.StudyDate for objects in known.studies.values() for ds in objects.values()}
    assert len(dates) == 3
    assert dates == {order["start"][:8] for order in known.orders.values()}


def test_the_same_seed_brings_the_same_people_and_new_numbers() -> None:
    first, second = Known(), Known()
    for known in (first, second):
        with stand_in(known) as targets:
            run(targets, replace(PROGRAMME, patients=4))

    assert sorted(first.names.values()) == sorted(second.names.values())
    assert not set(first.orders) & set(second.orders)
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
        patch.setattr(ward, "LIFELIKE", course.Tempo(acquisition=(0, 0), late_order=0))
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
        sender = Modality("CT_NORTH", Peer("127.0.0.1", port, "ARCHIVE", "CT_NORTH", threading.Event(), 10))
        for objects in known.studies.values():
            sender.send(list(objects.values()))
    finally:
        archive.close()
    assert archive.studies == {uid: len(objects) for uid, objects in known.studies.items()}
