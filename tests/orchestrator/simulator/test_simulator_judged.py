"""The hospital against a stand-in over real sockets: what it concludes from what became of its exams."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from pydicom.dataset import Dataset

from orchestrator.simulator.course import differs
from orchestrator.simulator.faults import FAULTS, Fault, Hold
from orchestrator.simulator.planner import Planner
from tests.orchestrator.simulator.least_sense import Known
from tests.orchestrator.simulator.playing import PROGRAMME, always, only, run
from tests.orchestrator.simulator.stand_in import stand_in

MERGES = ("temporary_identity", "duplicate_registration", "merge_in_acquisition")
OF_NOBODY = {
    "filler": "F0", "accession": "A0", "patient": ("NORTH", "0"), "records": {("NORTH", "0")}, "sps_id": "S0",
    "procedure_id": "R0",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_judged_as_the_stand_in_treats_it(fault: Fault) -> None:
    with stand_in(Known()) as targets:
        report = run(targets, only(fault.name, patients=2))

    told, studies = report["by_fault"][fault.name], report["studies"]
    assert studies == report["faults"][fault.name] >= 2
    assert told["right"] + told["held"] == studies
    assert (report["wrong"], report["unexplained"]) == (0, 0), report["details"]
    held = {detail["exam"] for detail in report["details"] if detail["verdict"] == "held"}
    if fault.hold is Hold.NEEDED:
        assert held == {1, 2}
    if fault.hold is Hold.UNEXPLAINED and fault.name not in MERGES:
        assert not held
    for detail in report["details"]:
        assert detail["explanation"].startswith(fault.label) or detail["verdict"] == "right"


@pytest.mark.parametrize("fault", MERGES)
def test_a_merge_that_was_refused_is_said_by_name(fault: str) -> None:
    with stand_in(Known()) as targets:
        report = run(targets, only(fault, patients=1))

    [detail] = report["details"]
    assert detail["verdict"] == "held"
    assert detail["reason"].startswith("merge not applied: message refused (AR ")
    assert report["messages_refused"] == 1


@pytest.mark.parametrize("fault", MERGES)
def test_a_merge_that_was_applied_makes_the_study_the_surviving_patients(fault: str) -> None:
    with stand_in(Known(takes_merges=True)) as targets:
        report = run(targets, only(fault, patients=1))

    assert (report["right"], report["messages_refused"]) == (1, 0), report["details"]


@pytest.mark.parametrize("fault", MERGES)
def test_a_merge_that_was_accepted_and_has_no_effect_is_unexplained(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Known, "_merge", lambda *_: None)
    with stand_in(Known(takes_merges=True)) as targets:
        report = run(targets, only(fault, patients=1, patience=2))

    assert report["unexplained"] == 1, report["details"]


@pytest.mark.parametrize("fault", ["typing_error", "second_patient", "no_order"])
def test_a_match_by_a_guess_is_wrong_even_when_it_is_the_true_one(fault: str) -> None:
    def guessed(self: Known, study_uid: str) -> list[tuple[Dataset, dict[str, Any] | None]]:
        return [(next(iter(self.studies[study_uid].values())), next(iter(self.steps.values()), OF_NOBODY))]

    with stand_in(Known()) as targets, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Known, "matches", guessed)
        report = run(targets, only(fault, patients=1, patience=2))

    assert report["wrong"] == 1, report["details"]
    assert report["details"][0]["reason"].startswith("matched by a guess")


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ({}, ""), ({"PatientName": "MÃ¼ller^JÃ¶rg"}, "name"), ({"PatientBirthDate": "19000101"}, "birth date"),
        ({"PatientSex": ""}, "sex"), ({"IssuerOfPatientID": ""}, "patient"), ({"PatientID": "1"}, "patient"),
        ({"ScheduledProcedureStepStartTime": "000100"}, "time"),
    ],
)  # fmt: skip
def test_what_a_worklist_entry_shows_otherwise_is_named(shown: dict[str, str], said: str) -> None:
    exam = Planner(seed=2, stamp="ABCDEF12").plain(1, datetime(2026, 11, 23, 14, 0).astimezone())
    person, step, entry = exam.person, Dataset(), Dataset()
    entry.PatientID, entry.IssuerOfPatientID, entry.PatientName = person.patient_id, person.issuer, person.dicom_name
    entry.PatientBirthDate, entry.PatientSex = person.birth_date, person.sex
    step.ScheduledProcedureStepStartTime = "140000"
    entry.ScheduledProcedureStepSequence = [step]
    for keyword, value in shown.items():
        setattr(step if keyword in step else entry, keyword, value)
    assert differs(person, exam.order, entry) == said


@pytest.mark.parametrize(
    ("shown", "said"),
    [({"PatientName": "MÃ¼ller^JÃ¶rg"}, "name"), ({"IssuerOfPatientID": ""}, "patient")],
)
def test_a_worklist_that_shows_another_patient_than_was_registered_is_unexplained(
    shown: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = Known.entries

    def otherwise(self: Known, station: str, day: str) -> Iterator[Dataset]:
        for entry in entries(self, station, day):
            for keyword, value in shown.items():
                setattr(entry, keyword, value)
            yield entry

    monkeypatch.setattr(Known, "entries", otherwise)
    with stand_in(Known()) as targets:
        report = run(targets, replace(PROGRAMME, patients=1, patience=1))
    assert [each["reason"] for each in report["details"]] == [f"the worklist shows another {said}"]
    assert report["unexplained"] == 1


def test_a_person_who_had_to_settle_what_was_proved_is_unexplained() -> None:
    with stand_in(Known(matches_by="person")) as targets:
        report = run(targets, replace(PROGRAMME, patients=1, patience=1))
    assert report["unexplained"] == report["studies"]
    assert report["details"][0]["reason"] == "a person had to settle it: nothing was wrong"


def test_a_case_that_does_not_offer_the_true_order_is_unexplained() -> None:
    with stand_in(Known(offers_nothing=True)) as targets:
        report = run(targets, only("typing_error", patients=1, patience=1))
    assert report["details"][0]["reason"].startswith("the true order is not among the candidates")


def test_a_hold_that_asks_nobody_is_unexplained() -> None:
    with stand_in(Known(asks_nobody=True)) as targets:
        report = run(targets, only("missing_accession", patients=1, patience=2))

    assert report["unexplained"] == 1
    assert report["details"][0]["reason"] == "held, and no open case asks anybody"


@pytest.mark.parametrize("fault", [None, "missing_accession", "half_sent"])
def test_objects_that_are_missing_are_unexplained_of_whatever_study(fault: str | None) -> None:
    known, programme = Known(), only(fault) if fault else PROGRAMME
    with stand_in(known) as targets, pytest.MonkeyPatch.context() as patch:
        resource = Known.resource
        patch.setattr(Known, "resource", lambda self, uid: (resource(self, uid) or {}) | {"number_of_instances": 1})
        report = run(targets, replace(programme, patients=1, patience=2))

    assert (report["held"], report["unexplained"]) == (0, 1)
    assert report["details"][0]["reason"].startswith("1 objects are there, ")


def test_a_hospital_full_of_faults_ends_with_nothing_wrong() -> None:
    known = Known()
    with stand_in(known) as targets:
        report = run(targets, replace(PROGRAMME, patients=24, faults=0.7))

    assert report["studies"] >= 24
    assert (report["wrong"], report["unexplained"]) == (0, 0)
    assert report["right"] > 0
    assert report["held"] > 0
    assert len(report["faults"]) >= 5


def test_a_match_to_another_order_is_counted_as_wrong() -> None:
    known = Known()
    with stand_in(known) as targets:
        run(targets, replace(PROGRAMME, patients=1))
        known.matches_everything_to = next(iter(known.steps))[0]
        report = run(targets, replace(PROGRAMME, patients=2, patience=2))

    assert report["wrong"] == 2
    assert "matched to order" in report["details"][0]["reason"]


def test_a_hold_without_a_fault_is_unexplained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Known, "_match", lambda self, study, ds: None)
    with stand_in(Known()) as targets:
        report = run(targets, replace(PROGRAMME, patients=2, patience=2))

    assert (report["held"], report["unexplained"]) == (0, 2)
    assert report["details"][0]["reason"].startswith("held although it can be matched: nothing was wrong")


def test_a_study_that_is_unknown_there_is_unexplained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Known, "resource", lambda self, study: None)
    with stand_in(Known()) as targets:
        report = run(targets, replace(PROGRAMME, patients=1, patience=2))

    assert report["unexplained"] == 1
    assert report["details"][0]["reason"] == "Fiducial does not know the study"


def test_a_canceled_step_that_stays_on_the_worklist_is_unexplained(monkeypatch: pytest.MonkeyPatch) -> None:
    always(monkeypatch, canceled=1.0)
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
