"""The modalities and the archive against DCMTK."""

import socket
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian

from orchestrator.simulator.archive import Archive
from orchestrator.simulator.console import Identity
from orchestrator.simulator.modality import Modality
from orchestrator.simulator.orders import CATALOGUE
from orchestrator.simulator.peer import Peer
from orchestrator.simulator.sites import STATIONS
from orchestrator.simulator.waiting import GaveUp
from tests import peers
from tests.orchestrator.simulator.least_sense import Patient, worklist_entry
from tests.orchestrator.simulator.test_simulator_images import AT, study, written


def modality(port: int, called: str = "FIDUCIAL") -> Modality:
    return Modality(STATIONS[0], Peer("127.0.0.1", port, called, "CT_NORTH", Event(), 10))


@pytest.mark.peer("dcmtk")
def test_storescp_receives_every_kind_of_object_unchanged(tmp_path: Path) -> None:
    objects = [ds for procedure in CATALOGUE for series in study(procedure) for ds in series]
    # The catalogue repeats each modality, and one seed gives one UID: send each once.
    objects = list({str(ds.SOPInstanceUID): ds for ds in objects}.values())
    with peers.storescp(tmp_path / "received") as scp:
        stored = modality(scp.port, scp.ae_title).send(objects)
        files = scp.files()

    assert (stored.accepted, stored.refused) == (len(objects), 0)
    received = {ds.SOPInstanceUID: ds for ds in map(dcmread, files)}
    assert set(received) == {ds.SOPInstanceUID for ds in objects}
    for ds in objects:
        assert received[ds.SOPInstanceUID].PixelData == ds.PixelData
        assert str(received[ds.SOPInstanceUID].PatientName) == str(ds.PatientName)


@pytest.mark.peer("dcmtk")
def test_a_console_takes_its_entry_from_wlmscpfs(tmp_path: Path) -> None:
    folder = tmp_path / "FIDUCIAL"
    folder.mkdir()
    (folder / "lockfile").touch()
    order = {
        "station": "CT_NORTH",
        "modality": "CT",
        "start": AT.strftime("%Y%m%d%H%M%S"),
        "sps_id": "S1",
        "description": "Schädel",
        "study": "1.2.3",
        "procedure_id": "R1",
    }
    for accession, name in (("A1", "Müller^Zoë"), ("A2", "Wójcik^Łukasz")):
        patient = Patient(name, "19700101", "F", told_at="")
        entry = worklist_entry({**order, "accession": accession}, ("NORTH", "01"), patient)
        entry.SOPClassUID, entry.SOPInstanceUID = "1.2.840.10008.5.1.4.31", f"1.2.{accession[1]}"
        entry.ensure_file_meta()
        entry.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        written(entry, folder).rename(folder / f"{accession}.wl")

    with peers.wlmscpfs(tmp_path) as port:
        found = modality(port).find(AT.date(), lambda entry: entry.AccessionNumber == "A2")
        nobody = modality(port).worklist(AT.date() + timedelta(days=1))

    assert found is not None
    identity = Identity.from_worklist(found)
    assert (identity.patient_name, identity.sps_id, identity.study_instance_uid) == ("Wójcik^Łukasz", "S1", "1.2.3")
    assert identity.character_set == "ISO_IR 192"
    assert nobody == []


@pytest.mark.peer("dcmtk")
def test_the_archive_answers_dcmtk(tmp_path: Path) -> None:
    archive = Archive("ARCHIVE", lambda line: None)
    port = str(archive.open(0))
    paths = [written(ds, tmp_path) for ds in study(CATALOGUE[0])[0]]
    try:
        peers.dcmtk("echoscu", "-aec", "ARCHIVE", "127.0.0.1", port)
        peers.dcmtk("storescu", "-aec", "ARCHIVE", "127.0.0.1", port, *map(str, paths))
    finally:
        archive.close()
    assert archive.received == {"studies": 1, "instances": len(paths)}


# pynetdicom drops the socket of a refused connection without closing it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nobody_listening_is_told_after_the_patience() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        console = Modality(STATIONS[0], Peer("127.0.0.1", port, "FIDUCIAL", "CT_NORTH", Event(), 1))
        with pytest.raises(GaveUp, match="no connection"):
            console.worklist(AT.date())
