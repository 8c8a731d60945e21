"""MPPS: what a modality reports moves the step it performs (PS3.4 annex F.7)."""

from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from orchestrator.dimse.messages import Peer, Request, Response
from orchestrator.models import (
    ExceptionCase,
    ExpectedInstance,
    ImagingServiceRequest,
    Patient,
    PatientIdentifier,
    RequestedProcedure,
    ScheduledProcedureStep,
    Site,
    WorkflowEvent,
    WrongEntry,
)
from orchestrator.services.workflow import transition
from orchestrator.states import CaseStatus, MppsStatus, StepStatus
from tests.worklists.ward import encoded, found, keys, peer, schedule
from worklists.dimse import create_mpps, set_mpps
from worklists.models import ModalityPerformedProcedureStep, RefusedReport
from worklists.services import mpps
from worklists.services.steps import project

pytestmark = pytest.mark.django_db

MPPS = "1.2.840.10008.3.1.2.3.3"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def begun(*steps: ScheduledProcedureStep, **attributes: Any) -> Dataset:
    """An N-CREATE's data set for these steps, as a modality fills it from their worklist entries."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ScheduledStepAttributesSequence = [
        reference(
            step.procedure.study_instance_uid,
            AccessionNumber=step.procedure.order.accession_number,
            RequestedProcedureID=step.procedure.requested_procedure_id,
            ScheduledProcedureStepID=step.sps_id,
        )
        for step in steps
    ]
    ds.PatientName = "Müller^Jürgen"
    if steps:
        ds.PatientID = steps[0].procedure.order.patient.identifiers.get().value
    ds.PerformedProcedureStepID, ds.PerformedStationAETitle, ds.Modality = "PPS1", "CT_NORTH", "CT"
    ds.PerformedProcedureStepStartDate, ds.PerformedProcedureStepStartTime = "20260705", "103000"
    ds.PerformedProcedureStepStatus = "IN PROGRESS"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def reference(study_instance_uid: str, **attributes: str) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = study_instance_uid
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def ended(status: str = "COMPLETED", *, images: int = 2, reason: str = "") -> Dataset:
    """An N-SET's data set."""
    ds = Dataset()
    ds.PerformedProcedureStepStatus = status
    ds.PerformedProcedureStepEndDate, ds.PerformedProcedureStepEndTime = "20260705", "104500"
    series = Dataset()
    series.SeriesInstanceUID, series.ProtocolName = generate_uid(), "HEAD"
    series.ReferencedImageSequence = [Dataset() for _ in range(images)]
    for image in series.ReferencedImageSequence:
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CT_IMAGE, generate_uid()
    ds.PerformedSeriesSequence = [series] if images else []
    if reason:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = reason, "DCM", "reason"
        ds.PerformedProcedureStepDiscontinuationReasonCodeSequence = [code]
    return ds


def send(
    command: str, uid: str, ds: Dataset | bytes, syntax: str = ExplicitVRLittleEndian, caller: Peer | None = None
) -> Response:
    data = ds if isinstance(ds, bytes) else encoded(ds, syntax)
    request = Request(caller or peer(), command, MPPS, sop_instance_uid=uid, transfer_syntax_uid=syntax, dataset=data)
    (response,) = (create_mpps if command == "N-CREATE" else set_mpps)(request)
    return response


def status_of(step: ScheduledProcedureStep) -> str:
    step.refresh_from_db()
    return step.status


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_step_is_started_and_completed_and_leaves_the_worklist(syntax: str) -> None:
    step, uid = schedule(), generate_uid()
    assert send("N-CREATE", uid, begun(step), syntax).status == 0
    assert status_of(step) == StepStatus.STARTED
    assert found(keys()) == []
    assert send("N-SET", uid, ended(), syntax).status == 0
    assert status_of(step) == StepStatus.COMPLETED
    mpps = ModalityPerformedProcedureStep.objects.get()
    assert mpps.status == MppsStatus.COMPLETED
    assert mpps.performed_series[0]["number_of_instances"] == 2
    assert mpps.dataset["00100010"]["Value"] == [{"Alphabetic": "Müller^Jürgen"}]
    expected = ExpectedInstance.objects.filter(mpps_uid=uid, study_instance_uid=step.procedure.study_instance_uid)
    assert expected.count() == 2
    assert not ExceptionCase.objects.exists()
    assert WorkflowEvent.objects.filter(actor_name="CT_NORTH").count() == WorkflowEvent.objects.count()


def test_the_same_creation_again_is_answered_and_another_with_its_uid_is_refused() -> None:
    step, uid = schedule(), generate_uid()
    for _ in range(2):
        assert send("N-CREATE", uid, begun(step)).status == 0
    assert WorkflowEvent.objects.filter(name="mpps.created").count() == 1
    assert send("N-CREATE", uid, begun(step, PerformedProcedureStepID="PPS2")).status == 0x0111


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED", "BUSY"])
def test_a_creation_that_is_not_in_progress_is_refused(status: str) -> None:
    assert send("N-CREATE", generate_uid(), begun(schedule(), PerformedProcedureStepStatus=status)).status == 0x0106
    assert not ModalityPerformedProcedureStep.objects.exists()


def test_a_creation_without_what_is_mandatory_is_refused() -> None:
    step = schedule()
    missing = begun(step)
    del missing.PerformedStationAETitle
    assert send("N-CREATE", generate_uid(), missing).status == 0x0120
    assert send("N-CREATE", generate_uid(), begun(step, Modality="")).status == 0x0121
    assert send("N-CREATE", generate_uid(), begun()).status == 0x0121
    assert send("N-CREATE", generate_uid(), b"nonsense").status == 0x0110
    assert status_of(step) == StepStatus.SCHEDULED


def test_an_update_of_nothing_is_refused() -> None:
    assert send("N-SET", generate_uid(), ended()).status == 0x0112


def test_a_final_step_may_no_longer_be_updated() -> None:
    uid = generate_uid()
    send("N-CREATE", uid, begun(schedule()))
    send("N-SET", uid, ended())
    response = send("N-SET", uid, ended("DISCONTINUED"))
    assert (response.status, response.error_id) == (0x0110, 0xA710)
    assert response.error_comment == "Performed Procedure Step Object may no longer be updated"


def test_an_update_replaces_attributes_but_not_what_was_scheduled() -> None:
    step, uid = schedule(), generate_uid()
    send("N-CREATE", uid, begun(step))
    change = Dataset()
    change.PerformedProcedureStepDescription = "more"
    change.ScheduledStepAttributesSequence = [reference("1.2.3")]
    assert send("N-SET", uid, change).status == 0
    mpps = ModalityPerformedProcedureStep.objects.get()
    assert mpps.status == MppsStatus.IN_PROGRESS
    assert mpps.dataset["00400254"]["Value"] == ["more"]
    scheduled = mpps.dataset["00400270"]["Value"][0]
    assert scheduled["0020000D"]["Value"] == [step.procedure.study_instance_uid]
    assert send("N-SET", uid, ended("BUSY")).status == 0x0106


def test_steps_are_found_by_step_then_accession_then_study() -> None:
    step = schedule()
    schedule()
    procedure = step.procedure
    numbers = {"AccessionNumber": procedure.order.accession_number}
    numbers["RequestedProcedureID"] = procedure.requested_procedure_id
    for item in (
        reference(procedure.study_instance_uid, ScheduledProcedureStepID=step.sps_id),
        reference(generate_uid(), **numbers),
        reference(procedure.study_instance_uid),
    ):
        uid = generate_uid()
        assert send("N-CREATE", uid, begun(step, ScheduledStepAttributesSequence=[item])).status == 0
        mpps = ModalityPerformedProcedureStep.objects.get(sop_instance_uid=uid)
        assert list(mpps.steps.all()) == [step]
        assert mpps.order == procedure.order


@pytest.mark.parametrize("typed_in", ["", "A-OF-AN-ORDER"])
def test_an_unscheduled_step_is_kept_and_nobody_is_asked(typed_in: str) -> None:
    uid = generate_uid()
    item = reference(generate_uid(), AccessionNumber=typed_in, ScheduledProcedureStepID="")
    assert send("N-CREATE", uid, begun(ScheduledStepAttributesSequence=[item])).status == 0
    assert not ModalityPerformedProcedureStep.objects.get().steps.exists()
    assert not ExceptionCase.objects.exists()


@pytest.mark.parametrize(
    "said",
    [{"PatientID": "00999"}, {"IssuerOfPatientID": "ELSEWHERE"}, {"PatientID": "", "PatientName": "ROE^JOHN"}],
    ids=["another ID", "that ID of another issuer", "no ID and another name"],
)
def test_a_report_of_another_patient_leaves_the_step_alone_and_asks_a_person(said: dict[str, str]) -> None:
    step, uid = schedule(name="DOE^JANE", patient_id="0123"), generate_uid()
    assert send("N-CREATE", uid, begun(step, **said)).status == 0
    assert send("N-SET", uid, ended()).status == 0
    assert status_of(step) == StepStatus.SCHEDULED
    assert found(keys()) == [step.sps_id]
    mpps = ModalityPerformedProcedureStep.objects.get()
    assert (mpps.status, mpps.patient, mpps.steps.count()) == (MppsStatus.COMPLETED, None, 0)
    case = ExceptionCase.objects.get()
    assert (case.reason_code, case.subject_id, case.order) == ("patient_differs", mpps.pk, step.procedure.order)
    assert case.detail["patient_of_the_step"] == "DOE^JANE 0123"


@pytest.mark.parametrize(
    "said",
    [
        {"PatientName": "SMITH^JANE"},
        {"IssuerOfPatientID": "MAIN"},
        {"PatientID": "OLD"},
        {"PatientID": "", "PatientName": "doe^jane^^"},
        {"PatientID": "", "PatientName": ""},
    ],
    ids=["the name from before", "with its issuer", "an ID from before a merge", "no ID, that name", "nothing said"],
)
def test_a_report_that_may_be_of_the_steps_patient_moves_it(said: dict[str, str]) -> None:
    step = schedule(name="DOE^JANE", patient_id="0123")
    patient = step.procedure.order.patient
    tombstone = Patient.objects.create(name="DOE^JANE", merged_into=patient)
    issuer = patient.identifiers.get().issuer
    PatientIdentifier.objects.create(patient=tombstone, value="OLD", issuer=issuer)
    assert send("N-CREATE", generate_uid(), begun(step, **said)).status == 0
    assert status_of(step) == StepStatus.STARTED
    assert not ExceptionCase.objects.exists()


@pytest.mark.parametrize(("said", "reason"), [({}, "order_differs"), ({"PatientID": "00999"}, "patient_differs")])
def test_a_step_of_one_order_under_the_accession_number_of_another_is_left_alone_and_asks_a_person(
    said: dict[str, str], reason: str
) -> None:
    chosen, meant, uid = schedule(), schedule(), generate_uid()
    item = begun(chosen).ScheduledStepAttributesSequence[0]
    item.AccessionNumber = meant.procedure.order.accession_number
    assert send("N-CREATE", uid, begun(chosen, ScheduledStepAttributesSequence=[item], **said)).status == 0
    assert send("N-SET", uid, ended()).status == 0
    assert status_of(chosen) == status_of(meant) == StepStatus.SCHEDULED
    case = ExceptionCase.objects.get()
    assert (case.reason_code, case.order) == (reason, chosen.procedure.order)


def test_an_end_that_names_another_patient_completes_nobodys_step() -> None:
    step, uid = schedule(patient_id="0123"), generate_uid()
    send("N-CREATE", uid, begun(step))
    end = ended()
    end.PatientID = "00999"
    assert send("N-SET", uid, end).status == 0
    assert status_of(step) == StepStatus.STARTED
    assert ExceptionCase.objects.get().reason_code == "patient_differs"
    assert ModalityPerformedProcedureStep.objects.get().dataset["00100020"]["Value"] == ["0123"]


def test_of_two_orders_with_one_accession_number_the_patients_is_performed() -> None:
    theirs, ours = schedule(patient_id="1"), schedule(patient_id="2")
    for step in (theirs, ours):
        RequestedProcedure.objects.filter(pk=step.procedure_id).update(requested_procedure_id="RP")
        ImagingServiceRequest.objects.filter(pk=step.procedure.order_id).update(accession_number="SAME")
    project([theirs.pk, ours.pk])
    item = reference(generate_uid(), AccessionNumber="SAME", RequestedProcedureID="RP")
    assert send("N-CREATE", generate_uid(), begun(ours, ScheduledStepAttributesSequence=[item])).status == 0
    assert (status_of(theirs), status_of(ours)) == (StepStatus.SCHEDULED, StepStatus.STARTED)


def test_a_step_of_another_site_is_left_alone_and_only_its_own_site_ends_a_performed_step() -> None:
    step, elsewhere = schedule(), Site.objects.create(code="NORTH", name="North")
    uid = generate_uid()
    assert send("N-CREATE", uid, begun(step), caller=peer(site=elsewhere)).status == 0
    assert status_of(step) == StepStatus.SCHEDULED
    case = ExceptionCase.objects.get()
    assert (case.reason_code, case.site, case.patient, case.order) == ("other_site", elsewhere, None, None)
    assert "DOE" not in case.detail["patient_of_the_step"]
    assert send("N-SET", uid, ended()).status == 0x0112
    assert send("N-SET", uid, ended(), caller=peer(site=elsewhere)).status == 0


@pytest.mark.parametrize(
    ("command", "ds", "status"),
    [
        ("N-SET", ended(), 0x0112),
        ("N-CREATE", b"nonsense", 0x0110),
        ("N-CREATE", begun(ScheduledStepAttributesSequence=[reference("not.a.uid")]), 0x0106),
    ],
)
def test_what_is_refused_is_kept_and_settled_when_it_is_reported_again(
    command: str, ds: Dataset | bytes, status: int
) -> None:
    uid = generate_uid()
    for _ in range(2):
        response = send(command, uid, ds)
        assert response.status == status
    kept = RefusedReport.objects.get()
    assert (kept.status, kept.count, kept.sop_instance_uid) == (status, 2, uid)
    assert bytes(kept.dataset) == (ds if isinstance(ds, bytes) else encoded(ds))
    assert response.error_comment in ExceptionCase.objects.get().summary
    send("N-CREATE", uid, begun(schedule()))
    send("N-SET", uid, ended())
    assert ExceptionCase.objects.get().status == CaseStatus.RESOLVED


def test_an_end_told_twice_is_refused_twice_and_nobody_is_asked_but_another_end_is_a_case() -> None:
    uid, end = generate_uid(), ended()
    send("N-CREATE", uid, begun(schedule()))
    assert send("N-SET", uid, end).status == 0
    again = send("N-SET", uid, end)
    assert (again.status, again.error_id) == (0x0110, 0xA710)
    assert not ExceptionCase.objects.exists()
    assert send("N-SET", uid, ended("DISCONTINUED")).error_id == 0xA710
    assert ExceptionCase.objects.get().reason_code == "report_refused"


class Failing:
    """mpps.create as it is when the database fails so many times first."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error, self.create = times, error, mpps.create

    def __call__(self, **words: Any) -> object:
        performed = self.create(**words)
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return performed


@pytest.fixture
def _the_connection_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure a connection is looked at, and closed where it is in the middle of a (test's) transaction."""
    monkeypatch.setattr(connection, "close_if_unusable_or_obsolete", lambda: None)


@pytest.mark.usefixtures("_the_connection_is_kept")
def test_a_report_that_another_writer_was_in_the_way_of_is_taken_at_the_second_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = schedule()
    monkeypatch.setattr(mpps, "create", transaction.atomic(Failing(1, OperationalError("deadlock detected"))))
    assert send("N-CREATE", generate_uid(), begun(step)).status == 0
    assert status_of(step) == StepStatus.STARTED
    assert ModalityPerformedProcedureStep.objects.count() == 1
    assert not ExceptionCase.objects.exists()


@pytest.mark.usefixtures("_the_connection_is_kept")
@pytest.mark.parametrize("error", [OperationalError("database is locked"), ZeroDivisionError()], ids=["locked", "ours"])
def test_a_report_that_fails_for_us_is_kept_and_shown_until_it_is_reported_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, uid = schedule(), generate_uid()
    with monkeypatch.context() as patch:
        patch.setattr(mpps, "create", transaction.atomic(Failing(9, error)))
        response = send("N-CREATE", uid, begun(step))
    assert (response.status, response.error_comment) == (0x0110, "Internal error")
    assert status_of(step) == StepStatus.SCHEDULED
    assert bytes(RefusedReport.objects.get().dataset) == encoded(begun(step))
    assert "Internal error" in ExceptionCase.objects.get().summary
    assert send("N-CREATE", uid, begun(step)).status == 0
    assert ExceptionCase.objects.get().status == CaseStatus.RESOLVED


@pytest.mark.parametrize("uid", ["not.a.uid", "1" * 65])
def test_an_instance_uid_that_is_none_is_refused(uid: str) -> None:
    assert send("N-CREATE", uid, begun(schedule())).status == 0x0117


def test_messages_in_different_character_sets_make_one_record() -> None:
    uid, change = generate_uid(), Dataset()
    send("N-CREATE", uid, begun(schedule(), PerformedProcedureStepDescription="Schädel"))
    change.SpecificCharacterSet = "ISO_IR 100"
    change.PerformedLocation = "Röntgen"
    assert send("N-SET", uid, change).status == 0
    dataset = ModalityPerformedProcedureStep.objects.get().dataset
    assert dataset["00400254"]["Value"] == ["Schädel"]
    assert dataset["00400243"]["Value"] == ["Röntgen"]


def test_a_list_with_things_that_are_no_uids_expects_the_others() -> None:
    uid, end = generate_uid(), ended()
    end.PerformedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1." * 60
    send("N-CREATE", uid, begun(schedule()))
    assert send("N-SET", uid, end).status == 0
    assert ExpectedInstance.objects.count() == 1


def test_a_step_that_we_do_not_know_opens_a_case() -> None:
    item = reference(generate_uid(), ScheduledProcedureStepID="NOBODY")
    assert send("N-CREATE", generate_uid(), begun(ScheduledStepAttributesSequence=[item])).status == 0
    assert ExceptionCase.objects.get().reason_code == "unknown_step"


def test_work_on_a_canceled_step_opens_a_case_and_leaves_it_canceled() -> None:
    step = schedule()
    transition(step, "step.canceled")
    assert send("N-CREATE", generate_uid(), begun(step)).status == 0
    assert ExceptionCase.objects.get().reason_code == "step_not_open"
    assert status_of(step) == StepStatus.CANCELED


def test_one_performed_step_may_perform_several_scheduled_ones() -> None:
    first, second, uid = schedule(patient_id="1"), schedule(patient_id="2"), generate_uid()
    ImagingServiceRequest.objects.update(patient=first.procedure.order.patient)
    send("N-CREATE", uid, begun(first, second))
    send("N-SET", uid, ended())
    assert status_of(first) == status_of(second) == StepStatus.COMPLETED


def test_an_appended_step_starts_a_completed_one_again() -> None:
    step, uids = schedule(), [generate_uid(), generate_uid()]
    send("N-CREATE", uids[0], begun(step))
    send("N-SET", uids[0], ended())
    send("N-CREATE", uids[1], begun(step))
    assert status_of(step) == StepStatus.STARTED
    send("N-SET", uids[1], ended("DISCONTINUED", images=0))
    assert status_of(step) == StepStatus.COMPLETED


def test_a_discontinued_step_is_discontinued() -> None:
    step, uid = schedule(), generate_uid()
    send("N-CREATE", uid, begun(step))
    assert send("N-SET", uid, ended("DISCONTINUED", images=0, reason="110500")).status == 0
    assert status_of(step) == StepStatus.DISCONTINUED
    assert ModalityPerformedProcedureStep.objects.get().discontinuation_reason == "110500"


def test_completed_without_series_is_taken_and_said() -> None:
    uid = generate_uid()
    send("N-CREATE", uid, begun(schedule()))
    assert send("N-SET", uid, ended(images=0)).status == 0
    assert WorkflowEvent.objects.filter(name="mpps.without_series").exists()


def test_a_wrong_entry_beside_a_completed_one_leaves_the_step_completed() -> None:
    step, uids = schedule(), [generate_uid(), generate_uid()]
    send("N-CREATE", uids[0], begun(step))
    send("N-SET", uids[0], ended())
    send("N-CREATE", uids[1], begun(step))
    send("N-SET", uids[1], ended("DISCONTINUED", reason="110514"))
    assert status_of(step) == StepStatus.COMPLETED


def test_a_wrong_worklist_entry_waits_again_and_its_images_are_disowned() -> None:
    step, uid = schedule(), generate_uid()
    send("N-CREATE", uid, begun(step))
    assert send("N-SET", uid, ended("DISCONTINUED", reason="110514")).status == 0
    assert status_of(step) == StepStatus.SCHEDULED
    assert found(keys()) == [step.sps_id]
    mpps = ModalityPerformedProcedureStep.objects.get()
    assert not mpps.steps.exists()
    assert WrongEntry.objects.get().study_instance_uid == step.procedure.study_instance_uid
    assert WorkflowEvent.objects.filter(name="mpps.wrong_worklist_entry", subject_id=mpps.pk).exists()
