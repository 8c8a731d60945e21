"""Images sent to an archive over one association, beside DCMTK's storescu and Orthanc's job; lost answers."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from benchmarks.objects import CT_EDGE, SMALL_EDGE, files
from benchmarks.ours import DURABLE, Installation, broker
from benchmarks.rounds import OURS, Contender, Plan, Row, compare, summary
from tests.peers import LOOPBACK, Orthanc, StoreScp, missing, orthanc, program, storescp

if TYPE_CHECKING:
    from routing.models import Destination

# Enough files that reading them counts, few enough for a disk; each is sent several times.
_FILES = 100


class NotSent(Exception):
    """An object did not arrive."""


def run(plan: Plan, ours: Installation, folder: Path) -> Iterator[Row]:
    if missing("dcmtk"):
        return
    repeat = max(1, plan.forwards // _FILES)
    lost: list[float] = []
    with storescp(folder / "archive", options=("-pdu", "131072", "--fork"), verbose=False) as archive:
        for what, edge in (("CT 0.5 MB", CT_EDGE), ("10 KB", SMALL_EDGE)):
            paths = files(folder / f"outgoing-{edge}", min(_FILES, plan.forwards), edge)
            with contextlib.ExitStack() as stack:
                contenders = [
                    Contender(
                        OURS, "the transport, without its rows; from files, not decoded",
                        partial(_ours, archive, paths, repeat, lost),
                    ),
                    Contender(
                        "storescu", f"--repeat, start-up over {len(paths) * repeat} objects included; to storescp -B",
                        partial(_storescu, archive, paths, repeat),
                    ),
                    *_orthanc(stack, folder / f"sender-{edge}", archive, paths, repeat),
                ]  # fmt: skip
                yield from compare(
                    f"forward {what}, 1 association",
                    metric="throughput", unit="objects/s", contenders=contenders, rounds=plan.rounds,
                )  # fmt: skip
        yield from _deliveries(plan, archive, folder, paths)
    settings = f"objects whose answer is unknown, of {len(paths) * repeat} each round"
    yield summary("forward, lost responses", OURS, settings, "count", "objects", lost, None)


def _ours(archive: StoreScp, paths: list[Path], repeat: int, lost: list[float]) -> float:
    from orchestrator.states import DeliveryStatus  # Django is set up by `run`
    from routing.transports.base import Item
    from routing.transports.cstore import CStore

    uids = {path: dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in paths}
    items = [
        Item(key, CTImageStorage, uids[path], ExplicitVRLittleEndian, partial(_as_it_is, path))
        for key, path in enumerate(paths * repeat)
    ]
    started = time.perf_counter()
    with CStore(ae_title=archive.ae_title, host=LOOPBACK, port=archive.port) as transport:
        results = list(transport.send(items))
    elapsed = time.perf_counter() - started
    failed = [each for each in results if each.status not in (DeliveryStatus.SENT, DeliveryStatus.UNKNOWN)]
    if failed:
        raise NotSent(f"{failed[0].status} {failed[0].error}")
    lost.append(sum(each.status == DeliveryStatus.UNKNOWN for each in results))
    return len(items) / elapsed


def _deliveries(plan: Plan, archive: StoreScp, folder: Path, paths: list[Path]) -> Iterator[Row]:
    """A whole study with all that is kept of its delivery, beside Orthanc's job, which keeps its own."""
    from tests.routing.ward import destination  # Django is set up by `run`

    to = destination(archive.port, ae_title=archive.ae_title)
    settings = f"a study of {len(paths)} objects by a worker's turn: its rows, attempt and custody ({DURABLE})"
    with broker(), contextlib.ExitStack() as stack:
        contenders = [
            Contender(OURS, settings, partial(_deliver, to, len(paths))),
            *_orthanc(stack, folder / "sender-study", archive, paths, 1),
        ]
        yield from compare(
            "delivery of a study, 10 KB objects",
            metric="throughput", unit="objects/s", contenders=contenders, rounds=plan.rounds,
        )  # fmt: skip


def _deliver(to: "Destination", instances: int) -> float:
    from routing.services.deliver import serve  # Django is set up by `run`
    from tests.routing.ward import matched_study, queued

    delivery = queued(matched_study(instances=instances), to)
    started = time.perf_counter()
    serve(to)
    elapsed = time.perf_counter() - started
    delivery.refresh_from_db()
    if delivery.status != "SENT" or delivery.instances.count() != instances:
        raise NotSent(f"{delivery.status} {delivery.last_error}")
    return instances / elapsed


def _as_it_is(path: Path) -> contextlib.AbstractContextManager[Path]:
    return contextlib.nullcontext(path)


def _storescu(archive: StoreScp, paths: list[Path], repeat: int) -> float:
    path = program("storescu")
    assert path is not None  # noqa: S101  `run` has looked; for the type checker
    argv = [path, "-aec", archive.ae_title, "-pdu", "131072", "--repeat", str(repeat), LOOPBACK, str(archive.port)]
    started = time.perf_counter()
    subprocess.run([*argv, *map(str, paths)], check=True, env={**os.environ, "TCP_NODELAY": "1"})
    return len(paths) * repeat / (time.perf_counter() - started)


def _orthanc(
    stack: contextlib.ExitStack, folder: Path, archive: StoreScp, paths: list[Path], repeat: int
) -> Iterator[Contender]:
    if missing("orthanc"):
        return
    peer = stack.enter_context(
        orthanc(folder, modalities={"archive": (archive.ae_title, LOOPBACK, archive.port)}, MaximumPduLength=131072)
    )
    instances = [peer.upload(path) for path in paths]
    settings = "/modalities/archive/store, synchronous, its association kept; MaximumPduLength 131072"
    yield Contender("orthanc", settings, partial(_job, peer, instances, repeat))


def _job(peer: Orthanc, instances: list[str], repeat: int) -> float:
    started = time.perf_counter()
    for _ in range(repeat):
        ended = peer.rest("/modalities/archive/store", {"Resources": instances, "Synchronous": True})
        if ended["FailedInstancesCount"]:
            raise NotSent(f"{ended['FailedInstancesCount']} instances of Orthanc's job")
    return len(instances) * repeat / (time.perf_counter() - started)
