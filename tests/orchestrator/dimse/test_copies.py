"""A second copy of an object in another transfer syntax: the same when it says the same and can be read (ADR 0009)."""

import copy
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pytest_django import Settings

from orchestrator import content, storage
from orchestrator.models import ExceptionCase, Instance, Study
from orchestrator.services import registration
from tests.factories import make_site
from tests.orchestrator.dimse.objects import image
from tests.orchestrator.dimse.test_registration import durable, register

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, settings: Settings) -> None:
    settings.SPOOL_DIR = tmp_path / "spool"
    make_site()


def rich_image() -> Dataset:
    """With numbers of every width, text, private elements and sequences in sequences."""
    ds = image(PixelData=bytes(range(256)) * 8)
    ds.FrameIncrementPointer, ds.RedPaletteColorLookupTableDescriptor = 0x00181063, [256, 0, 16]
    ds.ReferencePixelX0, ds.RealWorldValueSlope = 70000, 1.5
    ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 192", "Müller^Jürgen"
    inner, outer = Dataset(), Dataset()
    inner.CodeValue, outer.PurposeOfReferenceCodeSequence = "121311", [inner, Dataset()]
    ds.ReferencedImageSequence = [outer, inner]
    block = ds.private_block(0x0009, "ACME", create=True)
    block.add_new(0x01, "LO", "ours")
    return ds


_UNCOMPRESSED = [
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian,
]  # fmt: skip


def in_syntax(ds: Dataset, syntax: UID) -> Dataset:
    """The object again; its pixels are words."""
    again = copy.deepcopy(ds)
    again.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        pixels = array("H", again.PixelData)
        pixels.byteswap()
        again.PixelData = pixels.tobytes()
    again["PixelData"].VR = "OW"
    return again


@pytest.mark.parametrize("undefined_length", [False, True], ids=["defined", "undefined"])
@pytest.mark.parametrize("second", _UNCOMPRESSED, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("first", _UNCOMPRESSED, ids=lambda syntax: syntax.name)
def test_the_same_object_in_another_uncompressed_transfer_syntax_has_no_effect(
    first: UID, second: UID, undefined_length: bool
) -> None:
    ds = rich_image()
    register(in_syntax(ds, first))
    again = in_syntax(ds, second)
    again["ReferencedImageSequence"].is_undefined_length = undefined_length
    register(again)
    assert Instance.objects.get().transfer_syntax_uid == first
    assert Study.objects.get().number_of_instances == 1
    assert not ExceptionCase.objects.exists()
    assert not list(storage.waiting())


def change_text(ds: Dataset) -> None:
    ds.PatientComments = "other"


def change_a_pixel(ds: Dataset) -> None:
    ds.PixelData = ds.PixelData[:-2] + b"\1\0"


def change_an_item(ds: Dataset) -> None:
    del ds.ReferencedImageSequence[0].PurposeOfReferenceCodeSequence[1]


def change_a_private_element(ds: Dataset) -> None:
    ds.private_block(0x0009, "ACME")[0x01].value = "theirs"


@pytest.mark.parametrize("change", [change_text, change_a_pixel, change_an_item, change_a_private_element])
@pytest.mark.parametrize("syntax", _UNCOMPRESSED, ids=lambda syntax: syntax.name)
def test_the_least_difference_in_another_transfer_syntax_is_for_a_person(
    syntax: UID, change: Callable[[Dataset], None]
) -> None:
    ds = rich_image()
    register(ds)
    change(ds)
    register(in_syntax(ds, syntax))
    assert Instance.objects.count() == 2
    assert ExceptionCase.objects.get().reason_code == "OTHER_CONTENT"


@pytest.mark.once
@pytest.mark.parametrize("syntax", _UNCOMPRESSED, ids=lambda syntax: syntax.name)
def test_an_object_that_is_cut_off_anywhere_is_never_the_same(syntax: UID, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    in_syntax(rich_image(), syntax).save_as(whole, enforce_file_format=True)
    encoded = whole.read_bytes()
    assert content.say_the_same(whole, syntax, whole, syntax)
    # The last byte of a deflated one is padding.
    for length in range(400, len(encoded) - 1):
        cut.write_bytes(encoded[:length])
        assert not content.say_the_same(whole, syntax, cut, syntax), length


def test_what_is_compressed_or_too_large_or_a_bomb_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "object"
    bomb = image(PixelData=bytes(content.LARGEST_COMPARED))
    bomb.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    bomb.save_as(path, enforce_file_format=True)
    assert not content.say_the_same(path, DeflatedExplicitVRLittleEndian, path, DeflatedExplicitVRLittleEndian)
    image().save_as(path, enforce_file_format=True)
    assert content.say_the_same(path, ExplicitVRLittleEndian, path, ExplicitVRLittleEndian)
    assert not content.say_the_same(path, RLELossless, path, RLELossless)
    monkeypatch.setattr(content, "LARGEST_COMPARED", 1000)
    assert not content.say_the_same(path, ExplicitVRLittleEndian, path, ExplicitVRLittleEndian)


def test_two_encodings_within_one_batch_are_one_object() -> None:
    ds = rich_image()
    first = durable(in_syntax(ds, ImplicitVRLittleEndian))
    registration.register([first, durable(ds)])
    assert Instance.objects.get().spool_key == first.spool_key
    assert storage.path_of(first.spool_key).is_file()
    assert not ExceptionCase.objects.exists()


def test_a_copy_is_kept_when_the_file_of_the_first_is_gone() -> None:
    ds = rich_image()
    register(ds)
    storage.path_of(Instance.objects.get().spool_key).unlink()
    register(in_syntax(ds, ImplicitVRLittleEndian))
    assert Instance.objects.count() == 2
    assert ExceptionCase.objects.get().reason_code == "OTHER_CONTENT"
