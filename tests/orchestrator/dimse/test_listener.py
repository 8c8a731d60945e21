"""The DICOM listener over real sockets: what it promises, what it refuses, and that nothing disturbs the others."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)
from pynetdicom import AE, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import

from tests.orchestrator.dimse.objects import Listener, environment_in, file_of, image, listening
from tests.orchestrator.dimse.raw import ABORTED, ACCEPTED, RELEASED, RawCaller, command, encoded
from tests.peers import LOOPBACK, dcmtk, wait_for
from tests.tracing import course, tracing

pytestmark = pytest.mark.peer("dcmtk")

PRIVATE_CLASS = "1.3.6.1.4.1.9590.100.1.1"


@pytest.fixture(scope="module")
def listener(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    with listening(folder_with(migrated, tmp_path_factory.mktemp("shared") / "data")) as running:
        yield running


@pytest.fixture
def fresh(migrated: Path, tmp_path: Path) -> dict[str, str]:
    """A data folder of its own, for what ends a listener or needs other settings."""
    return folder_with(migrated, tmp_path / "data")


def folder_with(database: Path, folder: Path) -> dict[str, str]:
    folder.mkdir(mode=0o700)
    shutil.copy(database, folder / "fiducial.sqlite3")
    return environment_in(folder)


@pytest.fixture(autouse=True)
def _nothing_disturbs_the_others(request: pytest.FixtureRequest) -> Iterator[None]:
    """After whatever a test did, the next caller is served."""
    yield
    if "listener" in request.fixturenames:
        assert request.getfixturevalue("listener").echoes()


def parts(folder: Path, *datasets: Dataset) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [file_of(folder, ds) for ds in datasets]


def body(path: Path) -> bytes:
    """The data set of a Part 10 file, without its meta header: what travels."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<I", raw[140:144])
    return raw[144 + length :]


def test_every_storage_class_and_syntax_is_kept_byte_by_byte(listener: Listener, tmp_path: Path) -> None:
    plain, implicit, private = image(), image(), image(SOPClassUID=PRIVATE_CLASS)
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    rle, jpeg = image(), image()
    for ds, syntax in ((rle, RLELossless), (jpeg, JPEG2000Lossless)):
        ds.file_meta.TransferSyntaxUID = syntax
        # Not a real stream: whoever decodes it fails, and nobody may decode it.
        ds.PixelData = encapsulate([b"\xff\x4f\xff\x51 not a picture "])
        ds["PixelData"].is_undefined_length = True
    files = parts(tmp_path / "sent", plain, private, rle, jpeg)
    before = listener.instances()
    listener.send(*files)
    listener.wait_for_instances(before + 4)
    kept = {body(path) for path in listener.files("objects")}
    assert {body(path) for path in files} <= kept


# In the order in which they must be. A P-DATA-TF begins with 04 (PS3.8 9.3.1); the pipe that wakes a thread is no TCP.
_STEPS = {
    "file synced": r"fsync\(\d+<[^>]*/incoming/[^>]*>\)",
    "renamed": r"rename\w*\(.*",
    "folder synced": r"fsync\(\d+<[^>]*/inbox>\)",
    "answered": r'(?:sendto|sendmsg|write)\(\d+<TCP\w*:\[[^"]*\]>, "\\x04',
}


@pytest.mark.peer("strace")
def test_an_object_is_on_disk_before_it_is_answered(fresh: dict[str, str], tmp_path: Path) -> None:
    """fsync of the file, rename, fsync of the folder, and only then status 0000: told by the system calls."""
    trace = tmp_path / "trace"
    calls = "trace=fsync,rename,renameat,renameat2,sendto,sendmsg,write"
    with listening(fresh) as traced, tracing(traced.children()[0], calls, trace):
        traced.send(*parts(tmp_path / "sent", image(), image()))
        traced.wait_for_instances(2)
        told = wait_for(
            lambda: told if (told := course(trace.read_text(), _STEPS)).count("answered") == 2 else [],
            what="two answers",
        )
    # Two answers, each after the whole course of its object; what is renamed later is the registrar's.
    last = len(told) - told[::-1].index("answered")
    settled = [step for step in told[:last] if step != "renamed"]
    assert settled == [step for step in list(_STEPS) * 2 if step != "renamed"], trace.read_text()
    for synced, folder in zip(places(told, "file synced"), places(told, "folder synced"), strict=True):
        assert "renamed" in told[synced:folder]


def places(told: list[str], step: str) -> list[int]:
    return [place for place, each in enumerate(told) if each == step]


def test_the_judge_of_that_trace_sees_an_answer_that_comes_too_early() -> None:
    synced, renamed = "9 fsync(7</spool/incoming/a.dcm>) = 0", '9 rename("\\x2f"..., "\\x2f"...) = 0'
    folder, bell = "9 fsync(7</spool/inbox>) = 0", '9 sendto(5<UNIX-STREAM:[1->2]>, "\\x00", 1, 0, NULL, 0) = 1'
    answer = '8 sendto(6<TCP:[127.0.0.1:1->127.0.0.1:2]>, "\\x04"..., 90, 0, NULL, 0) = 90'
    released = '8 sendto(6<TCP:[127.0.0.1:1->127.0.0.1:2]>, "\\x06"..., 10, 0, NULL, 0) = 10'
    right = list(_STEPS)
    assert course("\n".join([synced, renamed, folder, bell, answer, released]), _STEPS) == right
    assert course("\n".join([answer, synced, renamed, folder, bell, released]), _STEPS) != right
    assert course("\n".join([synced, renamed, folder, bell, released]), _STEPS) != right
    half, rest = "9 fsync(7</spool/inbox> <unfinished ...>", "9 <... fsync resumed>) = 0"
    assert course("\n".join([synced, renamed, half, answer, rest]), _STEPS) != right


def test_what_was_acknowledged_is_there_after_kill_9(fresh: dict[str, str], tmp_path: Path) -> None:
    files = parts(tmp_path / "sent", *(image() for _ in range(5)))
    with listening(fresh) as first:
        first.send(*files)
        for pid in [*first.children(), first.process.pid]:
            os.kill(pid, signal.SIGKILL)
        first.process.wait()
        assert len(first.files("inbox")) + len(first.files("objects")) == 5
    with listening(fresh) as second:
        assert second.instances() == 5
        assert not second.files("inbox")


def test_kill_9_in_the_middle_of_the_stream_loses_nothing_that_was_acknowledged(fresh: dict[str, str]) -> None:
    acknowledged: list[str] = []

    def stream() -> None:
        association = associated(first)
        with contextlib.suppress(Exception):
            while association.is_established:  # type: ignore[attr-defined]
                ds = image()
                if association.send_c_store(ds).get("Status") == 0x0000:  # type: ignore[attr-defined]
                    acknowledged.append(ds.SOPInstanceUID)

    with listening(fresh) as first:
        senders = [threading.Thread(target=stream, daemon=True) for _ in range(2)]
        for sender in senders:
            sender.start()
        wait_for(lambda: len(acknowledged) > 20, what="a stream")
        for pid in [*first.children(), first.process.pid]:
            os.kill(pid, signal.SIGKILL)
        for sender in senders:
            sender.join(30)
        first.process.wait()
    with listening(fresh) as second:
        kept = {uid for (uid,) in second.rows("select sop_instance_uid from orchestrator_instance")}
        assert len(acknowledged) > 20
        assert set(acknowledged) <= kept
        assert not second.files("inbox")
        assert not second.files("incoming")


def test_a_listener_process_that_dies_is_replaced(fresh: dict[str, str]) -> None:
    with listening(fresh) as parent:
        [child] = parent.children()
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: parent.children() not in ([], [child]), what="another process")
        wait_for(parent.echoes, what="an answer")


def test_a_stop_tells_those_who_wait(fresh: dict[str, str]) -> None:
    with listening(fresh) as stopped, RawCaller(stopped.port, Verification) as caller:
        caller.associate()
        assert caller.pdu()[0] == ACCEPTED
        stopped.process.terminate()
        assert caller.pdu() == (ABORTED, bytes(4))
        assert caller.is_closed()
        assert stopped.process.wait(15) == 0


def test_without_room_an_object_is_refused_before_it_is_too_late(fresh: dict[str, str], tmp_path: Path) -> None:
    with listening(fresh, FIDUCIAL_SPOOL_RESERVE_MB="1000000000") as full:
        answer = full.send(*parts(tmp_path / "sent", image()), check=False)
        assert "A700" in answer.stdout or "OutOfResources" in answer.stdout.replace(" ", ""), answer.stdout
        assert full.echoes()
        assert not full.files("objects")
        assert not full.files("incoming")


def test_a_disk_that_fills_up_while_an_object_arrives_is_answered_and_nothing_remains(
    listener: Listener, tmp_path: Path
) -> None:
    """The process may write files of 8 MB only: it fails as a full disk does."""
    files = parts(tmp_path / "sent", image(Rows=2560, Columns=2560, PixelData=bytes(2560 * 2560 * 2)))
    [child] = listener.children()
    soft, hard = resource.prlimit(child, resource.RLIMIT_FSIZE, (8 << 20, resource.RLIM_INFINITY))
    answer = listener.send(*files, check=False)
    resource.prlimit(child, resource.RLIMIT_FSIZE, (soft, hard))
    assert "OutOfResources" in answer.stdout.replace(" ", ""), answer.stdout
    assert not listener.files("incoming")
    before = listener.instances()
    listener.send(*files)
    listener.wait_for_instances(before + 1)


def test_an_object_that_cannot_be_made_durable_is_refused_for_now(listener: Listener, tmp_path: Path) -> None:
    """It arrived whole, and the last step fails: no renaming into what is no folder."""
    files, inbox = parts(tmp_path / "sent", image()), listener.folder / "spool" / "inbox"
    away = inbox.rename(inbox.with_name("away"))
    inbox.touch()
    answer = listener.send(*files, check=False)
    inbox.unlink()
    away.rename(inbox)
    assert "OutOfResources" in answer.stdout.replace(" ", ""), answer.stdout
    assert not listener.files("incoming")
    before = listener.instances()
    listener.send(*files)
    listener.wait_for_instances(before + 1)


def test_unknown_callers_are_refused_recorded_and_offered(fresh: dict[str, str], tmp_path: Path) -> None:
    with listening(fresh, FIDUCIAL_TRUST="known") as strict:
        answer = strict.send(*parts(tmp_path / "sent", image()), ae_title="STRANGER", check=False)
        assert "Calling AE Title Not Recognized" in answer.stdout
        strict.send(*parts(tmp_path / "sent", image()), ae_title="STRANGER", check=False)
        assert strict.rows("select name, count from orchestrator_unknowncaller") == [("STRANGER", 2)]
        assert strict.rows("select kind from orchestrator_exceptioncase") == [("unknown_sender",)]


def test_who_calls_somebody_else_is_told_so(listener: Listener) -> None:
    call = ("-v", "-aet", "CT_NORTH", "-aec", "NOBODY", LOOPBACK, str(listener.port))
    answer = dcmtk("echoscu", *call, check=False)
    assert "Called AE Title Not Recognized" in answer.stdout


@pytest.mark.parametrize(
    "hostile",
    [
        b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 40, b"\x01\x00\x00\x00\x00\x44\x00\x01",
        b"\x04\x00\xff\xff\xff\xff", b"\x0b",
    ],
    ids=["a browser", "random bytes", "half an A-ASSOCIATE-RQ", "a P-DATA of 4 GB before any association", "MLLP"],
)  # fmt: skip
def test_what_is_no_dicom_disturbs_nobody_and_is_said_in_one_line(listener: Listener, hostile: bytes) -> None:
    said = len(listener.log.read_text().splitlines())
    with socket.create_connection((LOOPBACK, listener.port), timeout=10) as connection, contextlib.suppress(OSError):
        connection.sendall(hostile)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    lines = wait_for(lambda: listener.log.read_text().splitlines()[said:], what="a line in the log")
    assert len(lines) == 1, lines
    assert "ended without a DICOM association" in lines[0]


def test_a_port_scan_disturbs_nobody(listener: Listener) -> None:
    # More than a process serves at once.
    for _ in range(300):
        socket.create_connection((LOOPBACK, listener.port), timeout=10).close()


def associated(listener: Listener, sop_class_uid: str = CTImageStorage) -> "object":
    caller = AE(ae_title="CT_NORTH")
    caller.dimse_timeout = 60
    association = caller.associate(
        LOOPBACK, listener.port, [build_context(sop_class_uid, ExplicitVRLittleEndian)], ae_title="FIDUCIAL"
    )
    assert association.is_established
    return association


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_object_without_its_uids_is_refused_by_name_and_kept(listener: Listener, keyword: str) -> None:
    kept = len(listener.files("unreadable"))
    association = associated(listener)
    status = association.send_c_store(image(**{keyword: None}))  # type: ignore[attr-defined]
    association.release()  # type: ignore[attr-defined]
    assert status.Status == 0xA900
    assert "Instance UID" in status.ErrorComment
    assert "missing" in status.ErrorComment
    assert len(listener.files("unreadable")) == kept + 1
    assert ("unreadable_object",) in listener.rows("select kind from orchestrator_exceptioncase")


def test_an_object_without_patient_id_is_taken(listener: Listener) -> None:
    before = listener.instances()
    association = associated(listener)
    assert association.send_c_store(image(PatientID=None)).Status == 0x0000  # type: ignore[attr-defined]
    association.release()  # type: ignore[attr-defined]
    listener.wait_for_instances(before + 1)


def test_sequences_nested_thousands_deep_are_answered(listener: Listener) -> None:
    """Built as bytes: item in item in item, each with an undefined length."""
    ds, deep = image(), 5000
    opened = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    raw = encoded(ds)
    pixel = raw.index(b"\xe0\x7f\x10\x00")
    with RawCaller(listener.port, CTImageStorage) as caller:
        caller.associate()
        assert caller.pdu()[0] == ACCEPTED
        caller.send(command(0x0001, CTImageStorage, ds.SOPInstanceUID), last=True, is_command=True)
        caller.send(raw[:pixel] + opened * deep + closed * deep + raw[pixel:], last=True)
        assert caller.status() in (0x0000, 0xC000)


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_large_object_is_streamed_to_the_disk_and_not_held_in_memory(listener: Listener, tmp_path: Path) -> None:
    [child] = listener.children()
    before, size = listener.instances(), 200 * 1024 * 1024
    listener.send(*parts(tmp_path / "warm", image()))
    rss = memory(child)
    files = parts(tmp_path / "large", image(Rows=10240, Columns=10240, PixelData=bytes(size)))
    listener.send(*files)
    listener.wait_for_instances(before + 2)
    assert memory(child) - rss < 50 * 1024 * 1024


def test_an_object_that_breaks_off_leaves_nothing_behind(listener: Listener) -> None:
    with RawCaller(listener.port, CTImageStorage) as caller:
        caller.associate()
        assert caller.pdu()[0] == ACCEPTED
        caller.send(command(0x0001, CTImageStorage, generate_uid()), last=True, is_command=True)
        for _ in range(20):
            caller.send(bytes(65536), last=False)
        wait_for(lambda: listener.files("incoming"), what="the object to arrive")
    wait_for(lambda: not listener.files("incoming"), what="an empty folder")


def test_200_associations_at_once_are_all_served(listener: Listener) -> None:
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(RawCaller(listener.port, Verification)) for _ in range(200)]
        for caller in callers:
            caller.associate()
        assert {caller.pdu()[0] for caller in callers} == {ACCEPTED}
        for caller in callers:
            caller.send(command(0x0030, Verification), last=True, is_command=True)
        assert {caller.status() for caller in callers} == {0x0000}
        for caller in callers:
            caller.release()
        assert {caller.pdu()[0] for caller in callers} == {RELEASED}
    # A process serves 200 at once; they are over, and the next is served.
    wait_for(listener.echoes, what="the next caller to be served")
