"""The hospital against a stand-in over real sockets: what it sends, and what it concludes."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydicom.dataset import Dataset

from orchestrator.simulator import course, planner, ward
from orchestrator.simulator.archive import Archive
from orchestrator.simulator.faults import FAULTS, Fault, Hold
from orchestrator.simulator.mllp_out import Sender
from orchestrator.simulator.modality import Modality
from orchestrator.simulator.peer import Peer
from orchestrator.simulator.planner import Habits
from orchestrator.simulator.sites import STATIONS
from orchestrator.simulator.ward import Hospital, Programme, Targets
from tests.orchestrator.simulator.least_sense import Known
from tests.orchestrator.simulator.stand_in import stand_in

MERGES = ("temporary_identity", "duplicate_registration", "merge_in_acquisition")
OF_NOBODY = {
    "filler": "F0", "accession": "A0", "patient": ("NORTH", "0"), "records": {("NORTH", "0")}, "sps_id": "S0",
    "procedure_id": "R0",
}  # fmt: skip
PROGRAMME = Programme(patients=6, rate=None, seed=11, once=True, patience=20)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ward, "BRISK", course.Tempo(acquisition=(0, 0), hour=0.2))


def run(targets: Targets, programme: Programme = PROGRAMME, lines: list[str] | None = None) -> dict[str, Any]:
    lines = [] if lines is None else lines
    return Hospital(targets, programme, threading.Event(), lines.append).run(None)


def only(fault: str, **more: Any) -> Programme:
    return replace(PROGRAMME, faults=1, fault_weights={fault: 1.0}, **more)


def always(monkeypatch: pytest.MonkeyPatch, **habits: float) -> None:
    """Every exam takes this turn."""
    never = dict.fromkeys(vars(Habits()), 0.0)
    monkeypatch.setattr(ward, "Habits", lambda **_: Habits(**{**never, **habits}))


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


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if fault.hold is Hold.NEEDED])
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
        ({"PatientName": "MÃ¼ller^JÃ¶rg"}, "name"), ({"PatientBirthDate": "19000101"}, "birth date"),
        ({"PatientSex": ""}, "sex"), ({"IssuerOfPatientID": ""}, "patient"), ({"PatientID": "1"}, "patient"),
    ],
)  # fmt: skip
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
