"""The worklist and MPPS over real sockets: DCMTK's findscu and pynetdicom as modalities."""

import socket
import threading
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import connections
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.association import Association

from orchestrator.dimse.afterwards import Afterwards
from orchestrator.dimse.server import Listener
from orchestrator.models import Site, UnknownCaller
from orchestrator.states import StepStatus
from tests.peers import LOOPBACK, dcmtk
from tests.worklists.test_mpps import MPPS, begun, ended
from tests.worklists.ward import WORKLIST, keys, schedule
from worklists.models import WorklistQuery

pytestmark = pytest.mark.django_db(transaction=True)

MPPS_RETRIEVE = "1.2.840.10008.3.1.2.3.4"


@pytest.fixture
def port() -> Iterator[int]:
    """Our DICOM server in a thread of this process, on the test's database."""
    # A test that commits empties the tables behind it: also the site that the first migration made.
    Site.objects.get_or_create(code="MAIN", defaults={"name": "Main"})
    listening = socket.create_server((LOOPBACK, 0))
    listener = Listener(listening)
    thread = threading.Thread(target=listener.serve, daemon=True)
    thread.start()
    yield int(listening.getsockname()[1])
    listener.stop(10)
    thread.join()
    listening.close()
    connections.close_all()


def associate(port: int, sop_class_uid: str, syntax: str = ExplicitVRLittleEndian) -> Association:
    modality = AE(ae_title="CT_NORTH")
    modality.add_requested_context(sop_class_uid, syntax)
    association = modality.associate(LOOPBACK, port, ae_title=settings.AE_TITLE)
    assert association.is_established
    return association


def query(port: int, identifier: Dataset, syntax: str = ExplicitVRLittleEndian) -> tuple[list[int], list[Dataset]]:
    association = associate(port, WORKLIST, syntax)
    statuses, answers = [], []
    for status, answer in association.send_c_find(identifier, WORKLIST):
        statuses.append(int(status.Status))
        if answer is not None:
            answers.append(answer)
    association.release()
    return statuses, answers


@pytest.mark.peer("dcmtk")
def test_findscu_finds_what_is_scheduled_for_its_station(port: int) -> None:
    step = schedule(name="Müller^Jürgen", patient_id="00123")
    schedule(modality="MR", stations=("MR_EAST",))
    output = dcmtk(
        "findscu", "-W", "-v", "-aet", "CT_NORTH", "-aec", settings.AE_TITLE,
        "-k", "PatientName=mul*", "-k", "PatientID", "-k", "StudyInstanceUID",
        "-k", "(0040,0100)[0].Modality=CT",
        "-k", "(0040,0100)[0].ScheduledStationAETitle=CT_NORTH",
        "-k", "(0040,0100)[0].ScheduledProcedureStepStartDate=20260705-20260706",
        "-k", "(0040,0100)[0].ScheduledProcedureStepID",
        LOOPBACK, str(port),
    ).stdout  # fmt: skip
    assert output.count("Find Response: ") == 1, output
    assert f"[{step.sps_id} ]" in output or f"[{step.sps_id}]" in output
    assert step.procedure.study_instance_uid in output
    assert "[00123 ]" in output
    assert WorklistQuery.objects.get().ae_title == "CT_NORTH"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_pynetdicom_reads_every_answer(port: int, syntax: str) -> None:
    steps = [schedule(name=name) for name in ("DOE^JANE", "Müller^Jürgen", "Yamada^Tarou=山田^太郎")]
    statuses, answers = query(port, keys(), syntax)
    assert statuses == [0xFF00, 0xFF00, 0xFF00, 0]
    assert [str(answer.PatientName) for answer in answers] == [step.procedure.order.patient.name for step in steps]


def test_a_wildcard_in_a_date_is_refused_on_the_wire(port: int) -> None:
    statuses, _ = query(port, keys({"ScheduledProcedureStepStartDate": "2026*"}))
    assert statuses == [0xA900]


def test_a_modality_performs_a_step_on_two_associations(port: int) -> None:
    step, uid = schedule(), generate_uid()
    association = associate(port, MPPS)
    assert association.send_n_create(begun(step), MPPS, uid)[0].Status == 0
    association.release()
    assert query(port, keys())[0] == [0]
    association = associate(port, MPPS, ImplicitVRLittleEndian)
    assert association.send_n_set(ended(), MPPS, uid)[0].Status == 0
    refusal = association.send_n_set(ended(), MPPS, uid)[0]
    association.release()
    assert (refusal.Status, refusal.ErrorID) == (0x0110, 0xA710)
    step.refresh_from_db()
    assert step.status == StepStatus.COMPLETED


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Afterwards]:
    """The thread that a listener process has for it."""
    running = Afterwards()
    monkeypatch.setattr("worklists.dimse.afterwards", running)
    running.start()
    yield running
    running.stop()


def test_a_slow_writer_delays_no_modality_and_records_in_order(port: int, recorder: Afterwards) -> None:
    database_is_free = threading.Event()
    recorder.do(lambda _: database_is_free.wait(30), None)
    for modality in ("CT", "MR"):
        assert query(port, keys({"Modality": modality}))[0] == [0]
    assert not WorklistQuery.objects.exists()
    database_is_free.set()
    recorder.stop()
    asked = [row.keys for row in WorklistQuery.objects.order_by("pk")]
    assert asked == [{"Modality": "CT"}, {"Modality": "MR"}]


def test_an_unknown_caller_is_not_told_the_worklist_where_only_known_ones_are_trusted(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule()
    monkeypatch.setattr(settings, "TRUST", "known")
    modality = AE(ae_title="NOBODY")
    modality.add_requested_context(WORKLIST)
    association = modality.associate(LOOPBACK, port, ae_title=settings.AE_TITLE)
    assert association.is_rejected
    assert (UnknownCaller.objects.get().name, WorklistQuery.objects.count()) == ("NOBODY", 0)


def test_a_refused_identifier_names_its_element_on_the_wire(port: int) -> None:
    association = associate(port, WORKLIST)
    ((status, _),) = association.send_c_find(keys(StudyInstanceUID="1.*"), WORKLIST)
    association.release()
    assert (status.Status, status.OffendingElement) == (0xA900, Tag(0x0020000D))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_performed_step_is_told_back_whole_or_by_attribute(port: int, syntax: str) -> None:
    uid, told = generate_uid(), begun(schedule(), PerformedProcedureStepDescription="Schädel")
    association = associate(port, MPPS)
    assert association.send_n_create(told, MPPS, uid)[0].Status == 0
    association.release()
    association = associate(port, MPPS_RETRIEVE, syntax)
    _, whole = association.send_n_get([], MPPS_RETRIEVE, uid)
    _, part = association.send_n_get([Tag(0x00400252)], MPPS_RETRIEVE, uid)
    unknown, nothing = association.send_n_get([], MPPS_RETRIEVE, generate_uid())
    association.release()
    assert whole == told
    assert [element.keyword for element in part or ()] == ["SpecificCharacterSet", "PerformedProcedureStepStatus"]
    assert (unknown.Status, nothing) == (0x0112, None)
