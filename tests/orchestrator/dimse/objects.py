"""Small valid objects as a modality makes them, and the listener as a process."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tests.peers import dcmtk, free_port, wait_for

IDENTITY = {"PatientID": "0012345", "PatientName": "Doe^Jane", "PatientBirthDate": "19700228", "PatientSex": "F"}


def image(**attributes: Any) -> Dataset:
    """A CT image of 32 by 32; attributes by keyword, None leaves one out."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.StudyDate, ds.StudyTime, ds.Modality, ds.AccessionNumber = "20260705", "103000", "CT", "A1"
    ds.InstanceNumber, ds.SeriesNumber, ds.StudyDescription = "1", "1", "CT head"
    ds.Rows = ds.Columns = 32
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.PixelData = bytes(32 * 32 * 2)
    for keyword, value in {**IDENTITY, **attributes}.items():
        if value is None:
            ds.pop(keyword, None)
        else:
            setattr(ds, keyword, value)
    return ds


def file_of(folder: Path, ds: Dataset) -> Path:
    """The object as a Part 10 file."""
    path = folder / f"{len(list(folder.iterdir()))}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


@dataclass
class Listener:
    """`manage.py listen_dicom`, running, on a data folder of its own."""

    process: "subprocess.Popen[str]"
    port: int
    folder: Path
    log: Path

    def send(self, *files: Path, ae_title: str = "CT_NORTH", check: bool = True) -> "subprocess.CompletedProcess[str]":
        return dcmtk(
            "storescu", "-v", "-xf", str(_PROFILES), "Any", "-aec", "FIDUCIAL", "-aet", ae_title, "127.0.0.1",
            str(self.port), *map(str, files), check=check,
        )  # fmt: skip

    def echoes(self) -> bool:
        words = ("echoscu", "-aec", "FIDUCIAL", "-aet", "CT_NORTH", "127.0.0.1", str(self.port))
        return dcmtk(*words, check=False).returncode == 0

    def rows(self, query: str) -> list[Any]:
        """Rows of its database."""
        with contextlib.closing(sqlite3.connect(self.folder / "fiducial.sqlite3", timeout=20)) as database:
            return database.execute(query).fetchall()

    def instances(self) -> int:
        return int(self.rows("select count(*) from orchestrator_instance")[0][0])

    def wait_for_instances(self, number: int) -> None:
        wait_for(lambda: self.instances() == number, what=f"{number} registered instances")

    def files(self, place: str) -> list[Path]:
        """Files of the spool: `incoming`, `inbox`, `objects` or `unreadable`."""
        return [path for path in (self.folder / "spool" / place).rglob("*") if path.is_file()]

    def children(self) -> list[int]:
        """The processes that serve associations."""
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in task.read_text().split()]


_PROFILES = Path(__file__).with_name("storescu.cfg")


def environment_in(folder: Path) -> dict[str, str]:
    """Fiducial in that data folder, on the embedded default, without a broker."""
    return {**os.environ, "DATABASE_URL": "", "REDIS_URL": "", "FIDUCIAL_DATA_DIR": str(folder)}


@contextlib.contextmanager
def listening(environment: dict[str, str], **more: str) -> Iterator[Listener]:
    """The listener, once it listens, stopped at the end."""
    port = free_port()
    folder = Path(environment["FIDUCIAL_DATA_DIR"])
    log = folder / f"listener-{port}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "listen_dicom", "--skip-checks"],
            env={**environment, "FIDUCIAL_DICOM_PORT": str(port), "FIDUCIAL_DICOM_PROCESSES": "1", **more},
            cwd=settings.BASE_DIR, text=True, stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            # A scan of the inbox may have its say before.
            said = process.stdout.readline()
            while said and "listens" not in said:
                said = process.stdout.readline()
            assert said, log.read_text()
            yield Listener(process, port, folder, log)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
