"""The receiving side and its moods, as a sender sees them."""

import socket
from collections.abc import Iterator
from threading import Event, Thread

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context

from orchestrator.simulator.archive import Archive, DeadArchive, Kept, Mood, recover
from orchestrator.simulator.archives import Archives
from orchestrator.simulator.orders import CATALOGUE
from tests.orchestrator.simulator.test_simulator_images import study
from tests.peers import free_port, wait_for


def send(port: int, ds: Dataset | None = None) -> int | None:
    """One CT image, a new one or this; the status of its answer, None when none came."""
    if ds is None:
        [[ds, *_], *_] = study(CATALOGUE[0])
        ds.SOPInstanceUID = generate_uid()
    ae = AE(ae_title="FIDUCIAL")
    ae.dimse_timeout = ae.acse_timeout = ae.connection_timeout = 5
    assoc = ae.associate("127.0.0.1", port, [build_context(CTImageStorage, ExplicitVRLittleEndian)])
    if not assoc.is_established:
        return None
    answer = assoc.send_c_store(ds)
    if assoc.is_established:
        assoc.release()
    return int(answer.Status) if "Status" in answer else None


@pytest.fixture
def archive() -> Iterator[Archive]:
    archive = Archive("ARCHIVE", lambda _line: None)
    archive.slowness = 0.01
    archive.open(free_port())
    yield archive
    archive.close()


def test_each_mood_is_what_a_sender_meets_and_is_counted(archive: Archive) -> None:
    for mood, status in ((Mood.FINE, 0x0000), (Mood.SLOW, 0x0000), (Mood.FULL, 0xA700), (Mood.MUMBLING, None)):
        archive.turn(mood)
        assert send(archive.port) == status, mood
    assert archive.counts == {"studies": 1, "instances": 3, "refused": 1, "unanswered": 1}


def test_an_archive_restarts_where_it_was_and_forgets_nothing(archive: Archive) -> None:
    port = archive.port
    assert send(port) == 0
    archive.turn(Mood.CLOSED)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    archive.turn(Mood.FINE)
    assert (archive.port, send(port)) == (port, 0)
    assert archive.counts["instances"] == 2


def test_an_archive_remembers_under_whom_an_object_was_filed_last(archive: Archive) -> None:
    [[ds, *_], *_] = study(CATALOGUE[0])
    for patient_id in ("OF-BEFORE", "0815"):
        ds.PatientID = patient_id
        assert send(archive.port, ds) == 0
    assert archive.of(ds.StudyInstanceUID) == {
        ds.SOPInstanceUID: Kept(
            "0815", ds.IssuerOfPatientID, str(ds.PatientName), ds.PatientBirthDate, ds.PatientSex, ds.AccessionNumber
        )
    }
    assert archive.of("1.2.3") == {}


def test_archives_that_calm_down_take_everything_from_then_on() -> None:
    moods, stop = list[str](), Event()
    archives = Archives(moods.append)
    archives.open(0, all_three=True)
    try:
        archives.be_moody(1e6, 1, stop)
        wait_for(lambda: len(moods) > 5, what="moods")
        archives.calm_down()
        wait_for(lambda: archives.main.mood is archives.night.mood is Mood.FINE, what="calm")
    finally:
        stop.set()
        archives.close()


def test_a_dead_archive_takes_the_call_and_says_nothing() -> None:
    dead = DeadArchive("LOST")
    port = dead.open(0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as caller:
            caller.settimeout(0.3)
            caller.sendall(b"\x01\x00\x00\x00\x00\x04anybody?")
            with pytest.raises(TimeoutError):
                caller.recv(1)
        assert dead.counts == {"calls": 1}
    finally:
        dead.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_dead_archive_keeps_nobody_who_has_hung_up() -> None:
    dead = DeadArchive("LOST")
    port = dead.open(0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", port), timeout=5) as caller:
                    caller.sendall(b"\x01\x00\x00\x00\x00\x04anybody?")
            # The one that waits, the newest, and at most one whose farewell was still on its way.
            wait_for(lambda: dead.counts["calls"] == 21, what="the calls")
            assert len(dead._callers) <= 3
    finally:
        dead.close()


def test_a_restarting_archive_whose_port_is_taken_listens_again_when_it_is_free() -> None:
    lines: list[str] = []
    archive, stop = Archive("ARCHIVE", lines.append), Event()
    port = archive.open(free_port())
    archive.turn(Mood.CLOSED)
    try:
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind(("127.0.0.1", port))
            thief.listen()
            recovery = Thread(target=recover, args=(archive, stop), kwargs={"pause": 0.05})
            recovery.start()
            wait_for(lambda: any("cannot listen again yet" in line for line in lines), what="the refusal")
        recovery.join(10)
        assert archive.port == port
        assert archive.mood is Mood.FINE
    finally:
        stop.set()
        archive.close()


def test_an_archive_counts_all_studies_and_remembers_the_newest(archive: Archive) -> None:
    archive.remembers = 2
    assert [send(archive.port) for _ in range(3)] == [0, 0, 0]
    assert archive.received == {"studies": 1, "instances": 3}
    archive.remembers = 0
    assert send(archive.port) == 0
    assert archive.received == {"studies": 1, "instances": 4}
    assert not archive._objects


def test_each_of_three_archives_has_a_port_and_an_account_of_its_own() -> None:
    archives = Archives(lambda _line: None)
    archives.open(0, all_three=True)
    try:
        assert send(archives.ports["NIGHT"]) == 0
        assert len(set(archives.ports.values())) == 3
        assert {title: counts.get("instances") for title, counts in archives.counts.items()} == {
            "ARCHIVE": 0, "NIGHT": 1, "LOST": None,
        }  # fmt: skip
    finally:
        archives.close()
