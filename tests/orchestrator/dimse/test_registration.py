"""From a durable file to rows: studies, series, claims, instances; what is received twice, late or by halves."""

import datetime as dt
import tracemalloc
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.conf import settings
from django.db import DataError, OperationalError
from django.utils import timezone
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pytest_django import DjangoAssertNumQueries, Settings

from orchestrator import datasets, storage
from orchestrator.dimse.registrar import register_all, register_leftovers
from orchestrator.models import Device, ExceptionCase, Hop, IdentityClaim, Instance, Study, WorkflowEvent
from orchestrator.services import registration, studies
from orchestrator.services.registration import Received
from orchestrator.states import Custody, Purpose
from tests.factories import make_ae, make_site
from tests.orchestrator.dimse.objects import image

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


def test_the_same_object_in_another_transfer_syntax_is_not_lost() -> None:
    """Its bytes differ, so a person is asked: nothing is decoded to find out that it says the same."""
    ds = image()
    register(ds)
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    register(ds)
    assert Instance.objects.count() == 2
    assert ExceptionCase.objects.get().reason_code == "OTHER_CONTENT"


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
    assert Instance.objects.latest("pk").purpose == Purpose.RETURNED


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
        studies.association_ended([ds.StudyInstanceUID])
    else:
        register(ds)
        studies.expect_instances(mpps_uid="1.2.3", items=[named])
    assert Study.objects.get().custody == Custody.RECEIVED
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
