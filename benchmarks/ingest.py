"""C-STORE in: objects a second, beside DCMTK's storescp and Orthanc."""

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from pydicom.uid import CTImageStorage

from benchmarks.dicom import Association
from benchmarks.objects import CT_EDGE, SMALL_EDGE, store_messages
from benchmarks.ours import AE_TITLE, DATABASE, DURABLE, Installation, broker
from benchmarks.rounds import OURS, Contender, Plan, Row, compare
from tests.peers import Orthanc, missing, orthanc, storescp, wait_for

_AS_INSTALLED: dict[str, Any] = {}
# All four are known to Orthanc 1.10.1 (its Configuration.json).
_TUNED: dict[str, Any] = {
    "SyncStorageArea": False, "MaximumPduLength": 131072, "DicomThreadsCount": 8, "StoreMD5ForAttachments": False,
}  # fmt: skip
Play = Callable[[int, int, int], float]
"""(objects, pixels a side, associations) -> objects a second."""


def run(plan: Plan, ours: Installation, folder: Path) -> Iterator[Row]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(broker())
        stack.enter_context(ours.running("listen_dicom", ours.dicom_port))
        systems: list[tuple[str, str, Play]] = [
            (OURS, f"fsynced, indexed ({DURABLE}); the listener's 2 processes and the broker", partial(_ours, ours)),
            *_storescp(stack, folder),
            *_orthanc(stack, folder),
        ]
        for what, objects, edge in (("CT 0.5 MB", plan.ct_objects, CT_EDGE), ("10 KB", plan.small_objects, SMALL_EDGE)):
            for associations in (1, 4):
                plural = "s" * (associations > 1)
                contenders = [
                    Contender(system, settings, partial(play, objects, edge, associations))
                    for system, settings, play in systems
                ]
                yield from compare(
                    f"C-STORE {what}, {associations} association{plural}",
                    metric="throughput", unit="objects/s", contenders=contenders, rounds=plan.rounds,
                )  # fmt: skip


def _storescp(stack: contextlib.ExitStack, folder: Path) -> Iterator[tuple[str, str, Play]]:
    if missing("dcmtk"):
        return
    peer = stack.enter_context(storescp(folder / "storescp", options=("-pdu", "131072", "--fork"), verbose=False))

    def play(objects: int, edge: int, associations: int) -> float:
        rate = objects / _send(peer.port, peer.ae_title, objects, edge, associations)
        for path in peer.files():
            path.unlink()
        return rate

    yield "storescp", "not durable, no index; -B -pdu 131072 --fork", play


def _orthanc(stack: contextlib.ExitStack, folder: Path) -> Iterator[tuple[str, str, Play]]:
    if missing("orthanc"):
        return
    for system, settings, options in (
        ("orthanc", "fsynced, indexed; default (SyncStorageArea true), StableAge 1, with DICOMweb", _AS_INSTALLED),
        (
            "orthanc tuned",
            "not durable; as above, SyncStorageArea false, MaximumPduLength 131072, DicomThreadsCount 8, no MD5",
            _TUNED,
        ),
    ):
        place = folder / system.replace(" ", "-")
        peer = stack.enter_context(orthanc(place, **options))
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        yield system, settings, partial(_to_orthanc, peer)


def _to_orthanc(peer: Orthanc, objects: int, edge: int, associations: int) -> float:
    return objects / _send(peer.dicom_port, peer.ae_title, objects, edge, associations)


def _ours(ours: Installation, objects: int, edge: int, associations: int) -> float:
    """Until the last answer, and until every object has its rows: what Orthanc has done when it answers."""
    with contextlib.closing(sqlite3.connect(ours.data_dir / DATABASE, timeout=20)) as database:

        def rows() -> int:
            return int(database.execute("SELECT count(*) FROM orchestrator_instance").fetchone()[0])

        before = rows()
        sending = _send(ours.dicom_port, AE_TITLE, objects, edge, associations)
        answered = time.perf_counter()
        wait_for(lambda: rows() == before + objects, what="the rows of all objects", seconds=120)
        return objects / (sending + time.perf_counter() - answered)


def _send(port: int, called: str, objects: int, edge: int, associations: int) -> float:
    """Seconds from the first object to the last answer, over associations that are open already."""
    with contextlib.ExitStack() as stack:
        share = objects // associations
        loads: list[tuple[Association, Sequence[bytes]]] = []
        for _ in range(associations):
            association = stack.enter_context(Association(port, called=called, sop_class_uid=CTImageStorage))
            loads.append((association, list(store_messages(share, edge, association.maximum))))
        with ThreadPoolExecutor(associations) as threads:
            started = time.perf_counter()
            list(threads.map(_send_all, loads))
            return time.perf_counter() - started


def _send_all(load: tuple[Association, Sequence[bytes]]) -> None:
    association, messages = load
    for each in messages:
        association.ask(each)
