"""The objects that the modalities make, read back by programs that are not ours."""

import subprocess
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from random import Random

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import UID

from orchestrator.simulator.console import Identity
from orchestrator.simulator.images import Acquisition, acquire
from orchestrator.simulator.orders import CATALOGUE, CODING_SCHEME, Procedure, new_uid
from orchestrator.simulator.people import Person
from orchestrator.simulator.sites import STATIONS
from tests import peers

PERSON = Person("0ABC1", "Łukasik", "Małgorzata", "", "Dr.", "19710229", "F", "NORTH")
AT = datetime(2026, 11, 23, 14, 5, 9).astimezone()


def code() -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "CTHEAD", CODING_SCHEME, "CT head"
    return item


def study(procedure: Procedure, seed: int = 1) -> list[list[Dataset]]:
    identity = replace(
        Identity.typed(PERSON, new_uid(Random(9)), "A1", issuer="NORTH"),
        sps_id="S1",
        sps_description="CT head",
        requested_procedure_id="R1",
        requested_procedure_description="CT head",
        protocol_code=code(),
    )
    station = next(each for each in STATIONS if each.modality == procedure.modality)
    return acquire(identity, Acquisition(procedure, station, AT, new_uid(Random(8)), Random(seed), Random(seed)))


def written(ds: Dataset, folder: Path) -> Path:
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    dcmwrite(path, ds, enforce_file_format=True)
    return path


@pytest.mark.parametrize("procedure", CATALOGUE, ids=lambda procedure: procedure.code)
def test_a_study_has_its_own_uids_and_pixels_that_decode(procedure: Procedure, tmp_path: Path) -> None:
    series = study(procedure)
    objects = [dcmread(written(ds, tmp_path)) for of_series in series for ds in of_series]

    assert all(2 <= len(of_series) <= 6 for of_series in series)
    assert len({ds.SOPInstanceUID for ds in objects}) == len(objects)
    assert len({ds.SeriesInstanceUID for ds in objects}) == len(series)
    assert len({ds.StudyInstanceUID for ds in objects}) == 1
    for ds in objects:
        assert UID(ds.SOPInstanceUID).is_valid
        assert str(ds.PatientName) == "Łukasik^Małgorzata^^Dr."
        assert ds.SpecificCharacterSet == "ISO_IR 192"
        assert ds.RequestAttributesSequence[0].ScheduledProcedureStepID == "S1"
        pixels = ds.pixel_array
        assert (
            pixels.shape[-3:] in ((64, 64, 3), (4, 64, 64), (2, 64, 64))
            if pixels.ndim > 2
            else pixels.shape == (64, 64)
        )
        assert pixels.max() > pixels.min()


def test_a_name_that_latin_1_can_write_is_sent_in_latin_1() -> None:
    identity = Identity.typed(replace(PERSON, family="Größer", given="Jürgen"), "1.2", "A1")
    assert identity.character_set == "ISO_IR 100"


def test_two_entries_for_one_study_are_two_requests_and_no_accession_number_of_the_study() -> None:
    one, other = (replace(Identity.typed(PERSON, "1.2", f"A{number}"), sps_id=f"S{number}") for number in (1, 2))
    both = replace(one, also=(other,), accession_number="", requests_accession_number="A1")
    ds = acquire(both, Acquisition(CATALOGUE[0], STATIONS[0], AT, "", Random(1), Random(1)))[0][0]
    assert ds.AccessionNumber == ""
    assert [item.AccessionNumber for item in ds.RequestAttributesSequence] == ["A1", "A2"]


def test_objects_of_two_acquisitions_differ() -> None:
    first, second = (study(CATALOGUE[0], seed)[0][0] for seed in (1, 2))
    assert first.PixelData != second.PixelData
    assert first.SOPInstanceUID != second.SOPInstanceUID


@pytest.mark.peer("dicom3tools")
@pytest.mark.parametrize("procedure", CATALOGUE, ids=lambda procedure: procedure.code)
def test_dciodvfy_finds_no_error(procedure: Procedure, tmp_path: Path) -> None:
    for ds in study(procedure)[0]:
        done = subprocess.run(["dciodvfy", written(ds, tmp_path)], capture_output=True, text=True, check=False)
        complaints = [line for line in done.stderr.splitlines() if line.startswith(("Error", "Warning"))]
        # It knows no private coding schemes.
        assert not [line for line in complaints if CODING_SCHEME not in line]
        assert "Image" in done.stderr


@pytest.mark.peer("dcmtk")
def test_dcmdump_reads_what_was_written(tmp_path: Path) -> None:
    ds = study(CATALOGUE[0])[0][0]
    done = peers.dcmtk("dcmdump", "+U8", str(written(ds, tmp_path)))
    assert "Łukasik^Małgorzata^^Dr." in done.stdout
    assert "CTImageStorage" in done.stdout
