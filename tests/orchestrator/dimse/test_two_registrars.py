"""Two processes register at the same moment: nothing is lost, nothing is there twice, no study is forgotten."""

import datetime as dt
import threading
from functools import partial
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pytest_django import Settings

from orchestrator import storage
from orchestrator.dimse.registrar import register_all
from orchestrator.models import ExceptionCase, Instance, Study, WorkflowEvent
from orchestrator.services import registration, studies
from orchestrator.services.registration import Received
from orchestrator.states import Custody
from tests.factories import make_site
from tests.orchestrator.dimse.objects import image
from tests.orchestrator.dimse.test_registration import durable, like
from tests.together import at_once, many_writers

pytestmark = [pytest.mark.django_db(transaction=True), many_writers]


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, settings: Settings) -> Path:
    settings.SPOOL_DIR = tmp_path / "spool"
    make_site()
    return Path(settings.SPOOL_DIR)


def copies(ds: Dataset, number: int) -> list[Received]:
    return [durable(ds) for _ in range(number)]


def test_the_same_object_over_two_processes_is_kept_once_and_nobody_is_asked(spool: Path) -> None:
    for _ in range(5):
        assert not at_once(*(partial(register_all, [received]) for received in copies(image(), 2)))
    assert Instance.objects.count() == 5
    assert sorted(Study.objects.values_list("number_of_instances", flat=True)) == [1] * 5
    assert len(list((spool / "objects").rglob("*.dcm"))) == 5
    assert not list(storage.waiting())
    assert not ExceptionCase.objects.exists()


def test_other_content_over_two_processes_is_kept_beside_the_first_and_raised() -> None:
    ds = image()
    one = durable(ds)
    ds.PixelData = b"\1" * 2048
    other = durable(ds)
    assert not at_once(lambda: register_all([one]), lambda: register_all([other]))
    assert sorted(each.differs_from_id is None for each in Instance.objects.all()) == [False, True]
    assert ExceptionCase.objects.get().kind == "duplicate_instance"
    assert all(storage.path_of(each.spool_key).is_file() for each in Instance.objects.all())


def test_a_file_that_two_processes_register_is_never_taken_for_a_copy_of_itself() -> None:
    """A scan of the inbox meets the listener that is at the same file: its only copy was discarded, once in a while."""
    for _ in range(8):
        work = partial(register_all, [durable(image())])
        assert not at_once(work, work)
    assert Instance.objects.count() == 8
    assert all(storage.path_of(each.spool_key).is_file() for each in Instance.objects.all())


def test_objects_of_one_study_over_two_processes_are_all_counted() -> None:
    ds = image()
    one = [durable(like(ds)) for _ in range(5)]
    other = [durable(like(ds, SeriesInstanceUID="2.25.5", Modality="SR")) for _ in range(5)]
    assert not at_once(lambda: register_all(one), lambda: register_all(other))
    study = Study.objects.get()
    assert (study.number_of_instances, study.number_of_series, study.modalities) == (10, 2, ["CT", "SR"])


def test_an_object_that_arrives_while_its_study_is_closed_opens_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The close came between the registrar's look at the study and its commit: the object was never routed."""
    ds = image()
    register_all([durable(ds)])
    late = durable(like(ds))
    looked, closed = threading.Event(), threading.Event()

    def quiet_time(**words: float) -> dt.timedelta:
        """Between the look at the study's custody and the write: the close has its chance now."""
        looked.set()
        closed.wait(1)
        return dt.timedelta(**words)

    def close() -> None:
        looked.wait(10)
        studies.close(Study.objects.get().pk)
        closed.set()

    monkeypatch.setattr(registration, "timedelta", quiet_time)
    assert not at_once(lambda: register_all([late]), close)
    # Either the object came before the close, which then counts it, or the study is open again.
    event = WorkflowEvent.objects.filter(name="study.received").latest("pk")
    study = Study.objects.get()
    assert event.detail == {"instances": 2} or study.custody == Custody.RECEIVING
