"""From a durable file to rows: studies, series, claims, instances; what is received twice, late or by halves."""

import datetime as dt
import errno
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.conf import settings
from django.db import DataError, InterfaceError, OperationalError
from django.utils import timezone
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, generate_uid
from pytest_django import DjangoAssertNumQueries, Settings

from orchestrator import datasets, storage
from orchestrator.dimse import store_scp
from orchestrator.dimse.arriving import ArrivingObject
from orchestrator.dimse.messages import Peer, Request
from orchestrator.dimse.registrar import BATCH_SECONDS, Registrar, register_all, register_inbox, register_leftovers
from orchestrator.models import Device, ExceptionCase, Hop, IdentityClaim, Instance, Study, WorkflowEvent
from orchestrator.services import registration, studies
from orchestrator.services.exceptions import open_case
from orchestrator.services.registration import Received
from orchestrator.states import Custody, Purpose
from tests.factories import make_ae, make_site
from tests.orchestrator.dimse.objects import image
from tests.peers import wait_for

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, settings: Settings) -> Path:
    settings.SPOOL_DIR = tmp_path / "spool"
    make_site()
    return Path(settings.SPOOL_DIR)


def durable(ds: Dataset, ae_title: str = "CT_NORTH") -> Received:
    """The object as the listener leaves it in the inbox."""
    path = storage.incoming() / "arriving"
    ds.save_as(path, enforce_file_format=True)
    return Received(storage.accept(path, calling_ae_title=ae_title), ae_title, "127.0.0.1", timezone.now())


def register(*objects: Dataset, ae_title: str = "CT_NORTH") -> None:
    registration.register([durable(ds, ae_title) for ds in objects])


def like(ds: Dataset, **attributes: Any) -> Dataset:
    """Another image of the same series."""
    same = {"StudyInstanceUID": ds.StudyInstanceUID, "SeriesInstanceUID": ds.SeriesInstanceUID}
    return image(**{**same, **attributes})


def test_an_object_has_its_rows_and_leaves_the_inbox() -> None:
    ds = image()
    register(ds, like(ds))
    study = Study.objects.get()
    assert (study.study_instance_uid, study.custody) == (ds.StudyInstanceUID, Custody.RECEIVING)
    assert (study.number_of_series, study.number_of_instances, study.modalities) == (1, 2, ["CT"])
    claim = study.claims.get()
    assert (claim.patient_id, claim.patient_name, claim.birth_date) == ("0012345", "Doe^Jane", "19700228")
    assert (claim.accession_number, claim.number_of_instances) == ("A1", 2)
    assert not list(storage.waiting())
    assert all(storage.path_of(each.spool_key).is_file() for each in Instance.objects.all())


def test_registering_the_same_file_again_changes_nothing() -> None:
    received = durable(image())
    registration.register([received])
    registration.register([received])
    assert Instance.objects.count() == 1
    assert Study.objects.get().number_of_instances == 1
    assert storage.path_of(received.spool_key).is_file()


def test_the_same_object_sent_again_has_no_effect_and_is_kept_once(spool: Path) -> None:
    ds = image()
    register(ds)
    register(ds)
    assert (Instance.objects.count(), Study.objects.get().number_of_instances) == (1, 1)
    assert len(list((spool / "objects").rglob("*.dcm"))) == 1
    assert not ExceptionCase.objects.exists()


def test_another_object_under_the_same_uid_is_kept_beside_the_first_and_a_person_looks() -> None:
    ds = image()
    register(ds)
    ds.PixelData = b"\1" * 2048
    register(ds)
    first, second = Instance.objects.order_by("pk")
    assert (first.differs_from, second.differs_from) == (None, first)
    assert Study.objects.get().number_of_instances == 1
    assert ExceptionCase.objects.get().kind == "duplicate_instance"


def test_copies_within_one_batch_are_told_apart_as_those_of_two() -> None:
    ds = image()
    first, again = durable(ds), durable(ds)
    ds.PixelData = b"\1" * 2048
    registration.register([first, again, durable(ds)])
    kept, differing = Instance.objects.order_by("pk")
    assert (kept.spool_key, differing.differs_from) == (first.spool_key, kept)
    study = Study.objects.get()
    assert (study.number_of_instances, study.claims.get().number_of_instances) == (1, 1)
    assert ExceptionCase.objects.get().detail == {"instance": differing.pk, "first": kept.pk}


def test_a_batch_asks_the_database_little_per_object(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    ds = image()
    batch = [durable(like(ds)) for _ in range(30)]
    with django_assert_max_num_queries(30):
        registration.register(batch)
    assert Study.objects.get().number_of_instances == 30


def test_a_deflated_object_is_taken_and_a_bomb_is_inflated_only_so_far() -> None:
    ds = image(PixelData=bytes(200 << 20))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    received = durable(ds)
    assert storage.path_of(received.spool_key).stat().st_size < 1 << 20
    tracemalloc.start()
    header = datasets.read_header(storage.path_of(received.spool_key))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (header.patient_id, header.study_instance_uid) == ("0012345", ds.StudyInstanceUID)
    assert peak < 16 << 20
    registration.register([received])
    assert Instance.objects.get().transfer_syntax_uid == DeflatedExplicitVRLittleEndian


def test_each_identity_within_a_study_claims_for_itself() -> None:
    ds = image()
    register(ds, like(ds, PatientID="999", PatientName="Roe^Max"), like(ds, AccessionNumber="A2"))
    study = Study.objects.get()
    assert study.claims.count() == 3
    assert set(study.claims.values_list("number_of_instances", flat=True)) == {1}


def test_an_object_without_patient_id_is_taken_and_claims_nothing() -> None:
    register(image(PatientID=None, PatientName=None, PatientBirthDate=None, PatientSex=None, AccessionNumber=None))
    assert IdentityClaim.objects.get().patient_id == ""


@pytest.mark.parametrize(
    ("kind", "purpose"),
    [
        (Device.Kind.MODALITY, Purpose.ACQUIRED),
        (Device.Kind.ARCHIVE, Purpose.IMPORTED),
        (Device.Kind.PROCESSOR, Purpose.DERIVED),
    ],
)
def test_the_purpose_follows_from_who_sent_it(kind: Device.Kind, purpose: Purpose) -> None:
    entity = make_ae("SENDER")
    Device.objects.filter(pk=entity.device_id).update(kind=kind)
    register(image(), ae_title="SENDER")
    assert Instance.objects.get().purpose == purpose


def test_a_study_is_of_the_site_that_acquired_it_also_where_what_a_processor_made_of_it_was_here_first() -> None:
    senders_of_four_sites()
    first = image()
    register(first, ae_title="AI")
    assert Study.objects.get().site.code == "MAIN"
    for title in ("CT_EAST", "AI", "CT_WEST", "PACS"):
        register(like(first), ae_title=title)
        study = Study.objects.get()
        assert (study.site.code, study.received_from) == ("EAST", "CT_EAST")
    assert WorkflowEvent.objects.get(name="study.site_changed").detail == {"from": "MAIN", "to": "EAST"}


@pytest.mark.parametrize("earlier", [("CT_MAIN",), ("AI", "CT_MAIN"), ("AI", "PACS"), ("PACS",)])
def test_what_was_acquired_or_imported_once_stays_at_its_site(earlier: tuple[str, ...]) -> None:
    senders_of_four_sites()
    first = image()
    for title in earlier:
        register(like(first), ae_title=title)
    site = Study.objects.get().site
    for title in ("CT_WEST", "PACS", "CT_EAST"):
        register(like(first), ae_title=title)
        assert Study.objects.get().site == site


def test_a_study_about_which_somebody_was_asked_stays_where_they_are() -> None:
    senders_of_four_sites()
    first = image()
    register(first, ae_title="AI")
    study = Study.objects.get()
    open_case("duplicate_instance", about=study, study=study, site=study.site, reason_code="OTHER_CONTENT", summary="?")
    register(like(first), ae_title="CT_EAST")
    assert Study.objects.get().site.code == "MAIN"


def senders_of_four_sites() -> None:
    make_ae("AI", kind=Device.Kind.PROCESSOR)
    make_ae("CT_MAIN")
    make_ae("PACS", site=make_site("HQ"), kind=Device.Kind.ARCHIVE)
    make_ae("CT_EAST", site=make_site("EAST"))
    make_ae("CT_WEST", site=make_site("WEST"))


def sent_to(kind: Device.Kind, ds: Dataset) -> None:
    """The object is here, and a device of that kind, with the AE title THERE, has its study from us."""
    entity = make_ae("THERE")
    Device.objects.filter(pk=entity.device_id).update(kind=kind)
    register(ds)
    Hop.objects.create(study=Study.objects.get(), device=entity.device, rendition="original")


@pytest.mark.parametrize("kind", Device.Kind)
def test_what_comes_back_from_where_we_sent_it_has_returned(kind: Device.Kind) -> None:
    ds = image()
    sent_to(kind, ds)
    ds.PixelData = b"\1" * 2048
    register(ds, ae_title="THERE")
    returned = Instance.objects.latest("pk")
    assert (returned.purpose, returned.differs_from) == (Purpose.RETURNED, Instance.objects.earliest("pk"))
    assert not ExceptionCase.objects.exists(), "it is ours as corrected, or as it is kept there"
    event = WorkflowEvent.objects.get(name="study.copies_returned")
    assert (event.actor_name, event.detail) == ("THERE", {"instances": 1})


@pytest.mark.parametrize(
    ("kind", "purpose"),
    [
        (Device.Kind.ARCHIVE, Purpose.RETURNED),
        (Device.Kind.PROCESSOR, Purpose.DERIVED),
        (Device.Kind.WORKSTATION, Purpose.ACQUIRED),
    ],
)
def test_what_a_machine_made_of_what_it_got_is_new_and_an_archive_makes_nothing(
    kind: Device.Kind, purpose: Purpose
) -> None:
    ds = image()
    sent_to(kind, ds)
    register(like(ds), ae_title="THERE")
    assert Instance.objects.latest("pk").purpose == purpose


def received_events() -> int:
    return WorkflowEvent.objects.filter(name="study.received").count()


def test_a_study_is_received_when_nothing_more_comes_for_its_quiet_time() -> None:
    register(image())
    studies.close_due()
    assert received_events() == 0
    Study.objects.update(quiet_until=timezone.now() - dt.timedelta(seconds=1))
    studies.close_due()
    assert (Study.objects.get().custody, received_events()) == (Custody.RECEIVED, 1)


def test_the_end_of_the_association_shortens_the_wait() -> None:
    ds = image()
    register(ds)
    studies.association_ended([ds.StudyInstanceUID])
    left = Study.objects.get().quiet_until - timezone.now()  # type: ignore[operator]  # a study that is receiving has it
    assert left < dt.timedelta(seconds=settings.STUDY_QUIET_SECONDS)


@pytest.mark.parametrize("mpps_first", [True, False])
def test_a_study_that_has_all_that_the_mpps_names_is_received_at_once(mpps_first: bool) -> None:
    ds = image()
    named = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPClassUID, ds.SOPInstanceUID)
    missing = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPClassUID, generate_uid())
    if mpps_first:
        studies.expect_instances(mpps_uid="1.2.3", items=[named])
        register(ds)
    else:
        register(ds)
        studies.expect_instances(mpps_uid="1.2.3", items=[named])
    assert Study.objects.get().custody == Custody.RECEIVED
    assert received_events() == 1
    studies.expect_instances(mpps_uid="1.2.4", items=[missing])
    assert studies.missing_instances(Study.objects.get()) == [missing[3]]


def test_a_late_instance_opens_the_study_again() -> None:
    ds = image()
    register(ds)
    studies.close(Study.objects.get().pk)
    register(like(ds))
    assert Study.objects.get().custody == Custody.RECEIVING
    studies.close(Study.objects.get().pk)
    assert received_events() == 2


def test_one_object_that_can_never_be_registered_keeps_no_other_waiting(spool: Path) -> None:
    good, bad = durable(image()), durable(image(PatientName="Bad^One"))
    real = registration._Batch.take

    def refuse(self: Any, each: Any) -> None:
        if each.header.patient_name == "Bad^One":
            raise DataError("the database does not want this")
        real(self, each)

    with patch.object(registration._Batch, "take", refuse):
        register_all([bad, good])
    assert Instance.objects.get().spool_key == good.spool_key
    case = ExceptionCase.objects.get()
    assert (case.kind, case.reason_code) == ("unreadable_object", "CANNOT_REGISTER")
    assert (spool / "unreadable" / case.detail["file"]).is_file()
    assert not list(storage.waiting())


def test_what_the_database_cannot_take_now_stays_in_the_inbox_until_it_can() -> None:
    received = durable(image())
    with patch.object(registration._Batch, "take", side_effect=OperationalError("away")):
        register_all([received])
    assert list(storage.waiting()) == [received.spool_key]
    register_leftovers()
    assert not Instance.objects.exists(), "somebody may be about to register it"
    with patch("orchestrator.dimse.registrar.LEFT_SECONDS", 0.0):
        register_leftovers()
    assert Instance.objects.get().calling_ae_title == "CT_NORTH"
    assert not list(storage.waiting())


def test_the_registrar_outlives_whatever_fails(caplog: pytest.LogCaptureFixture) -> None:
    registrar, seen = Registrar(), list[object]()

    def fail(batch: object) -> None:
        seen.append(batch)
        raise InterfaceError("away")

    with (
        patch("orchestrator.dimse.registrar.register_all", fail),
        patch("orchestrator.dimse.registrar.studies.association_ended", side_effect=InterfaceError("away")),
    ):
        registrar.start()
        for number in (1, 2):
            registrar.add(durable(image()), association_id="a", study_instance_uid="2.25.1")
            registrar.association_ended("a")
            wait_for(lambda number=number: len(seen) >= number, what="a batch")  # type: ignore[misc]
        registrar.stop()
    assert "left to the sweep" in caplog.text


def test_a_slow_stream_is_registered_while_it_goes_on() -> None:
    """Objects that come faster than a batch's time apart were collected until there were two hundred."""
    registrar, seen = Registrar(), list[int]()
    received = durable(image())
    with patch("orchestrator.dimse.registrar.register_all", side_effect=lambda batch: seen.append(len(batch))):
        registrar.start()
        for _ in range(150):
            registrar.add(received, association_id="a", study_instance_uid="2.25.1")
            time.sleep(BATCH_SECONDS / 5)
            if seen:
                break
        registrar.stop()
    # Not when the stream ended, nor when there were two hundred.
    assert seen[0] < 100


def test_what_somebody_copied_into_the_inbox_stops_no_scan(spool: Path) -> None:
    received = durable(image())
    (spool / "inbox" / ".20260705-half.dcm.Xy12").write_bytes(b"of a copying tool")
    assert register_inbox() == 1
    assert Instance.objects.get().spool_key == received.spool_key


def test_one_process_scans_the_inbox_at_a_time() -> None:
    durable(image())
    with storage.scanning_inbox() as alone:
        assert alone
        assert register_inbox() == 0
    assert register_inbox() == 1


def test_what_another_listener_is_writing_is_not_cleared_up(spool: Path) -> None:
    arriving = ArrivingObject()
    arriving.write(b"x")
    left = spool / "incoming" / "left.dcm"
    left.write_bytes(b"of a crash")
    storage.clear_incoming()
    assert (arriving.path.exists(), left.exists()) == (True, False)
    arriving.close()


def test_a_spool_that_cannot_be_written_to_is_no_room_and_nothing_breaks(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where a folder should be")
    settings.SPOOL_DIR = tmp_path / "file"
    arriving = ArrivingObject()
    arriving.write(b"x")
    arriving.close()
    peer = Peer("CT_NORTH", "FIDUCIAL", "127.0.0.1", "a", None, make_site().pk)
    request = Request(peer, "C-STORE", "1.2.840.10008.5.1.4.1.1.2", path=arriving.path)
    assert [each.status for each in store_scp.store(request)] == [0xA700]


def test_a_disk_that_is_found_full_at_the_last_moment_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    ds, path = image(), storage.incoming() / "arriving"
    ds.save_as(path, enforce_file_format=True)
    monkeypatch.setattr("os.fsync", full)
    peer = Peer("CT_NORTH", "FIDUCIAL", "127.0.0.1", "a", None, make_site().pk)
    request = Request(peer, "C-STORE", ds.SOPClassUID, sop_instance_uid=ds.SOPInstanceUID, path=path)
    assert [each.status for each in store_scp.store(request)] == [0xA700]
    assert not list(storage.waiting())


def test_instances_that_the_modality_made_and_that_did_not_arrive_are_for_a_person_until_they_do() -> None:
    ds = image()
    late = like(ds)
    register(ds)
    named = [
        (each.StudyInstanceUID, each.SeriesInstanceUID, each.SOPClassUID, each.SOPInstanceUID) for each in (ds, late)
    ]
    studies.expect_instances(mpps_uid="1.2.3", items=named)
    studies.close(Study.objects.get().pk)
    case = ExceptionCase.objects.get()
    assert (case.kind, case.detail) == ("incomplete_study", {"missing": [late.SOPInstanceUID]})
    register(late)
    studies.close(Study.objects.get().pk)
    case.refresh_from_db()
    assert (case.status, case.resolution) == ("RESOLVED", "complete")


def test_a_count_that_comes_after_the_study_was_closed_is_compared_too() -> None:
    ds = image()
    register(ds)
    studies.close(Study.objects.get().pk)
    named = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPClassUID, generate_uid())
    studies.expect_instances(mpps_uid="1.2.3", items=[named])
    assert ExceptionCase.objects.get().kind == "incomplete_study"


def hostile(path: Path, ds: Dataset, before_pixels: bytes) -> Path:
    """The object with these bytes before its pixels (they stand in the order of their tags)."""
    ds.save_as(path, enforce_file_format=True)
    raw = path.read_bytes()
    at = raw.index(b"\xe0\x7f\x10\x00")
    path.write_bytes(raw[:at] + before_pixels + raw[at:])
    return path


_NESTED = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"


@pytest.mark.once
@pytest.mark.parametrize(
    "bytes_of",
    [
        lambda: _NESTED * 200_000,
        lambda: b"\x29\0\x10\x10OB\0\0\xff\xff\xff\xff" + bytes(64 << 20),
        lambda: b"\x40\x00\x75\x02SQ\0\0" + (60 << 20).to_bytes(4, "little") + bytes(60 << 20),
        lambda: b"\x29\0\x10\x10SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0" * 1_000_000,
    ],
    ids=["sequences 200,000 deep", "64 MB without an end", "a sequence of 60 MB", "a million items"],
)
def test_a_header_made_to_exhaust_us_is_given_up_cheaply(tmp_path: Path, bytes_of: Callable[[], bytes]) -> None:
    path = hostile(tmp_path / "hostile.dcm", image(), bytes_of())
    begun = time.process_time()
    tracemalloc.start()
    with pytest.raises(datasets.Unreadable):
        datasets.read_header(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - begun < 5
    assert peak < 64 << 20


@pytest.mark.once
def test_private_data_of_any_length_before_the_identity_is_skipped(tmp_path: Path) -> None:
    private = b"\x29\0\x10\x10OB\0\0" + (64 << 20).to_bytes(4, "little") + bytes(64 << 20)
    assert datasets.read_header(hostile(tmp_path / "large.dcm", image(), private)).patient_id == "0012345"


def test_a_big_endian_object_is_read_as_any_other(tmp_path: Path) -> None:
    ds = image()
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    register(ds)
    instance = Instance.objects.get()
    assert (instance.transfer_syntax_uid, instance.claim.patient_id) == (ExplicitVRBigEndian, "0012345")
