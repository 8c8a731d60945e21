"""Renditions: what leaves is the received file with its corrections, and nothing else is changed."""

from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from orchestrator import datasets, storage
from orchestrator.models import ImagingServiceRequest, Issuer, Study
from routing import datasets as renditions
from routing.datasets import ORIGINAL, NoRendition, rendition_of, write_rendition
from routing.services.custody import corrections_of
from tests.factories import make_order, make_patient
from tests.routing.ward import PIXELS, image, match, receive

pytestmark = pytest.mark.django_db


def rendered(study_image: Dataset, corrections: dict[str, tuple[str, str]], tmp_path: Path, **more: Any) -> Path:
    """The rendition of an image that was received as this one is encoded."""
    encoding = {name: more.pop(name) for name in ("syntax", "little_endian", "implicit_vr") if name in more}
    study = receive(study_image, **encoding)
    source = _path(study)
    before = source.read_bytes()
    write_rendition(source, tmp_path / "rendition", corrections, sender="CT_NORTH", **more)
    assert source.read_bytes() == before, "the original is never rewritten"
    return tmp_path / "rendition"


def _path(study: Study) -> Path:
    return storage.path_of(study.instances.get().spool_key)


def test_a_rendition_is_named_by_what_it_changes() -> None:
    one = {"PatientID": ("a", "b"), "PatientSex": ("", "F")}
    assert rendition_of({}) == ORIGINAL
    assert rendition_of(one) == rendition_of(dict(reversed(one.items())))
    assert rendition_of(one) != rendition_of({**one, "PatientSex": ("", "M")})


def test_new_values_stand_in_place_and_old_ones_in_original_attributes(tmp_path: Path) -> None:
    ds = image(make_order(), PatientID="WRONG", PatientName="Roe^Jane")
    del ds.IssuerOfPatientID
    corrections = {
        "PatientID": ("WRONG", "P1"), "PatientName": ("Roe^Jane", "Doe^Jane"), "IssuerOfPatientID": ("", "MAIN"),
    }  # fmt: skip
    left = dcmread(rendered(ds, corrections, tmp_path))
    assert (left.PatientID, left.PatientName, left.IssuerOfPatientID) == ("P1", "Doe^Jane", "MAIN")
    [item] = left.OriginalAttributesSequence
    assert (item.SourceOfPreviousValues, item.ModifyingSystem) == ("CT_NORTH", "FIDUCIAL")
    assert item.ReasonForTheAttributeModification == "CORRECT"
    assert len(item.AttributeModificationDateTime) == len("20260705103000+0000")
    [before] = item.ModifiedAttributesSequence
    assert (before.PatientID, before.PatientName) == ("WRONG", "Roe^Jane")
    assert "IssuerOfPatientID" in before
    assert not before.IssuerOfPatientID


def _issuer(universal_id: str, **more: str) -> Dataset:
    item = Dataset()
    item.UniversalEntityID = universal_id
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


def left_for(order: ImagingServiceRequest, received: Dataset, tmp_path: Path) -> Dataset:
    """How an image leaves that a person matched to this order."""
    study = receive(received)
    match(study, order)
    write_rendition(_path(study), tmp_path / "left", corrections_of(study.claims.get()), sender="CT_NORTH")
    return dcmread(tmp_path / "left")


def test_an_id_never_leaves_under_the_issuer_of_the_one_that_it_replaces(tmp_path: Path) -> None:
    patient = make_patient("77")
    by_oid = Issuer.objects.create(universal_id="1.2.3", universal_id_type="ISO")
    patient.identifiers.update(issuer=by_oid)
    order = make_order(patient=patient)
    left = left_for(order, image(order, PatientID="5", IssuerOfPatientID="A"), tmp_path)
    assert (left.PatientID, left.IssuerOfPatientID) == ("77", "")
    [issuer] = left.IssuerOfPatientIDQualifiersSequence
    assert (issuer.UniversalEntityID, issuer.UniversalEntityIDType) == ("1.2.3", "ISO")
    [before] = left.OriginalAttributesSequence[0].ModifiedAttributesSequence
    assert (before.PatientID, before.IssuerOfPatientID) == ("5", "A")
    assert not before.IssuerOfPatientIDQualifiersSequence


def test_nor_under_the_universal_id_of_that_issuer(tmp_path: Path) -> None:
    order = make_order(patient=make_patient("77"))
    theirs = _issuer("1.2.9", UniversalEntityIDType="ISO")
    left = left_for(order, image(order, PatientID="5", IssuerOfPatientIDQualifiersSequence=[theirs]), tmp_path)
    assert (left.PatientID, left.IssuerOfPatientID) == ("77", "MAIN")
    assert "IssuerOfPatientIDQualifiersSequence" not in left
    [before] = left.OriginalAttributesSequence[0].ModifiedAttributesSequence
    assert before.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.9"


def test_an_accession_number_of_another_order_never_leaves_with_an_order_that_has_none(tmp_path: Path) -> None:
    make_order(accession_number="FOREIGN")
    order = make_order(accession_number="")
    left = left_for(order, image(order, AccessionNumber="FOREIGN"), tmp_path)
    assert (left.AccessionNumber, "AccessionNumber" in left) == ("", True)
    [before] = left.OriginalAttributesSequence[0].ModifiedAttributesSequence
    assert before.AccessionNumber == "FOREIGN"


def test_one_of_nobody_stays_with_an_order_that_has_none() -> None:
    order = make_order(accession_number="")
    study = receive(image(order, AccessionNumber="THEIRS"))
    match(study, order)
    assert corrections_of(study.claims.get()) == {}


def test_a_corrected_accession_number_leaves_the_request_attributes_too(tmp_path: Path) -> None:
    order = make_order(accession_number="A1")
    mine, others = Dataset(), Dataset()
    mine.AccessionNumber, mine.ScheduledProcedureStepID = "TYPED", "S1"
    others.AccessionNumber = "GROUPED"
    received = image(order, AccessionNumber="TYPED", RequestAttributesSequence=[mine, others])
    left = left_for(order, received, tmp_path)
    assert left.AccessionNumber == "A1"
    assert [item.AccessionNumber for item in left.RequestAttributesSequence] == ["A1", "GROUPED"]
    assert left.RequestAttributesSequence[0].ScheduledProcedureStepID == "S1"
    [before] = left.OriginalAttributesSequence[0].ModifiedAttributesSequence
    assert [item.AccessionNumber for item in before.RequestAttributesSequence] == ["TYPED", "GROUPED"]


def test_an_issuer_that_only_goes_by_another_name_is_left_alone(tmp_path: Path) -> None:
    patient = make_patient("77")
    Issuer.objects.update(namespace=None, universal_id="1.2.3")
    order = make_order(patient=patient)
    received = image(order, IssuerOfPatientID="CT", IssuerOfPatientIDQualifiersSequence=[_issuer("1.2.3")])
    study = receive(received)
    match(study, order)
    assert corrections_of(study.claims.get()) == {}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_all_else_keeps_its_bytes(tmp_path: Path, syntax: str) -> None:
    ds = image(make_order(), PatientComments="Grüße", DataSetTrailingPadding=b"\0" * 40)
    ds.add_new(0x00091001, "UN", b"private\0")
    left = dcmread(rendered(ds, {"PatientID": ("x", "P1")}, tmp_path, syntax=syntax))
    original = dcmread(_path(Study.objects.get()))
    assert left.file_meta.TransferSyntaxUID == syntax
    changed = {0x00100020, 0x04000561}
    for element in original:
        if element.tag not in changed:
            assert left[element.tag].value == element.value, element.tag
    assert {each.tag for each in left} == {each.tag for each in original} | changed
    assert left.PixelData == PIXELS


def test_compressed_pixels_are_copied_and_never_read(tmp_path: Path) -> None:
    frames = b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\x00\xe0\x08\0\0\0no image" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    ds = image(make_order())
    ds.PixelData = b""
    del ds.PixelData
    study = receive(ds)
    source = _path(study)
    whole = dcmread(source)
    whole.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dcmwrite(tmp_path / "source", whole, enforce_file_format=True)
    with (tmp_path / "source").open("ab") as file:
        file.write(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + frames)
    write_rendition(tmp_path / "source", tmp_path / "target", {"PatientID": ("x", "P1")}, sender="CT_NORTH")
    assert (tmp_path / "target").read_bytes().endswith(b"OB\0\0\xff\xff\xff\xff" + frames)
    assert dcmread(tmp_path / "target").PatientID == "P1"


def test_a_deflated_object_is_corrected_inside_its_stream(tmp_path: Path) -> None:
    target = rendered(image(make_order()), {"PatientID": ("x", "P1")}, tmp_path, syntax=DeflatedExplicitVRLittleEndian)
    left = dcmread(target)
    assert (left.PatientID, left.PixelData) == ("P1", PIXELS)
    assert left.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian


@pytest.mark.parametrize(
    ("charset", "received", "corrected"),
    [
        ("ISO_IR 100", "Müller^Jürgen", "Mueller^Jürgen"),
        ("ISO_IR 144", "Иванова^Ирина", "Иванова^Анна"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", "Yamada^Jirou=山田^次郎"),
        ("GB18030", "Wang^XiaoDong=王^小东", "Wang^XiaoBei=王^小北"),
        ("ISO_IR 192", "Ŵang^Łucja", "Wang^Łucja"),
    ],
)
def test_a_name_that_its_character_set_can_say_leaves_the_character_set_as_it_is(
    tmp_path: Path, charset: str | list[str], received: str, corrected: str
) -> None:
    ds = image(make_order(), PatientName=received)
    ds.SpecificCharacterSet = charset
    left = dcmread(rendered(ds, {"PatientName": (received, corrected)}, tmp_path))
    assert left.get("SpecificCharacterSet") == (charset if isinstance(charset, str) else ["", "ISO 2022 IR 87"])
    assert str(left.PatientName) == corrected
    [item] = left.OriginalAttributesSequence
    assert str(item.ModifiedAttributesSequence[0].PatientName) == received


@pytest.mark.parametrize(
    ("charset", "default", "comments"),
    [("ISO_IR 100", "", "Grüße"), ("ISO_IR 144", "", "Привет"), ("", "ISO_IR 144", "Привет"), ("", "", "plain")],
)
def test_a_name_that_it_cannot_say_makes_the_whole_object_unicode(
    tmp_path: Path, charset: str, default: str, comments: str
) -> None:
    """`default`: what a sender means that names no character set."""
    ds = image(make_order(), charset=charset or default, PatientComments=comments)
    ds.RequestAttributesSequence[0].RequestedProcedureDescription = comments
    ds.RequestAttributesSequence[0].RequestedProcedureID = comments
    source = tmp_path / "received"
    study = receive(ds)
    raw = _path(study).read_bytes()
    if default:
        # The same bytes without the element that says how to read them.
        element = b"\x08\x00\x05\x00CS\x0a\x00" + default.encode()
        assert element in raw
        raw = raw.replace(element, b"")
    source.write_bytes(raw)
    assert datasets.read_header(source, default_character_set=default).requested_procedure_id == comments
    corrections = {"PatientName": ("Doe^Jane", "Łucja^山田")}
    target = tmp_path / "rendition"
    write_rendition(source, target, corrections, sender="CT_NORTH", default_character_set=default)
    left = dcmread(target)
    assert left.SpecificCharacterSet == "ISO_IR 192"
    assert str(left.PatientName) == "Łucja^山田"
    assert left.PatientComments == comments
    assert left.RequestAttributesSequence[0].RequestedProcedureDescription == comments
    assert str(left.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].PatientName) == "Doe^Jane"
    assert datasets.read_header(target).patient_name == "Łucja^山田"


def test_an_earlier_systems_original_attributes_are_kept(tmp_path: Path) -> None:
    earlier = Dataset()
    earlier.ModifyingSystem = "OTHER"
    earlier.ModifiedAttributesSequence = []
    ds = image(make_order())
    ds.OriginalAttributesSequence = [earlier]
    left = dcmread(rendered(ds, {"PatientID": ("x", "P1")}, tmp_path))
    assert [each.ModifyingSystem for each in left.OriginalAttributesSequence] == ["OTHER", "FIDUCIAL"]


def test_a_file_that_cannot_be_read_is_said_without_its_content(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00\xff\xff\xff\xff" + b"Doe^Jane" * 20)
    with pytest.raises(NoRendition) as raised:
        write_rendition(broken, tmp_path / "target", {"PatientID": ("x", "P1")}, sender="CT_NORTH")
    assert "Doe" not in str(raised.value)


def test_a_deflated_object_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renditions, "_LARGEST_VALUE", 1 << 20)
    ds = image(make_order())
    ds.PixelData = b"\0" * (4 << 20)
    with pytest.raises(NoRendition, match="too large"):
        rendered(ds, {"PatientID": ("x", "P1")}, tmp_path, syntax=DeflatedExplicitVRLittleEndian)


def test_an_attribute_that_would_fill_the_memory_is_named_and_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renditions, "_LARGEST_VALUE", 1 << 20)
    ds = image(make_order())
    ds.add_new(0x00420011, "OB", b"\0" * (2 << 20))
    with pytest.raises(NoRendition, match="0042,0011"):
        rendered(ds, {"PatientID": ("x", "P1")}, tmp_path)
