"""CT images sent to an archive over one association, beside DCMTK's storescu."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from benchmarks.objects import CT_EDGE, files
from benchmarks.ours import Installation
from benchmarks.rounds import OURS, Contender, Plan, Row, compare
from tests.peers import LOOPBACK, StoreScp, missing, program, storescp

# Enough files that reading them counts, few enough for a disk; each is sent several times.
_FILES = 100


class NotSent(Exception):
    """An object did not arrive."""


def run(plan: Plan, ours: Installation, folder: Path) -> Iterator[Row]:
    if missing("dcmtk"):
        return
    paths = files(folder / "outgoing", min(_FILES, plan.forwards), CT_EDGE)
    repeat = max(1, plan.forwards // len(paths))
    with storescp(folder / "archive", options=("-pdu", "131072", "--fork"), verbose=False) as archive:
        contenders = [
            Contender(
                OURS, "the transport, without its rows; from files, not decoded", partial(_ours, archive, paths, repeat)
            ),
            Contender(
                "storescu", "--repeat, start-up included; to storescp -B", partial(_storescu, archive, paths, repeat)
            ),
        ]
        yield from compare(
            "forward CT 0.5 MB, 1 association",
            metric="throughput", unit="objects/s", contenders=contenders, rounds=plan.rounds,
        )  # fmt: skip


def _ours(archive: StoreScp, paths: list[Path], repeat: int) -> float:
    from orchestrator.states import DeliveryStatus  # Django is set up by `run`
    from routing.transports.base import Item
    from routing.transports.cstore import CStore

    items = [
        Item(key, CTImageStorage, ExplicitVRLittleEndian, partial(_as_it_is, path))
        for key, path in enumerate(paths * repeat)
    ]
    started = time.perf_counter()
    with CStore(ae_title=archive.ae_title, host=LOOPBACK, port=archive.port) as transport:
        results = list(transport.send(items))
    elapsed = time.perf_counter() - started
    if any(result.status != DeliveryStatus.SENT for result in results):
        raise NotSent(next(f"{each.status} {each.error}" for each in results if each.status != DeliveryStatus.SENT))
    return len(items) / elapsed


def _as_it_is(path: Path) -> contextlib.AbstractContextManager[Path]:
    return contextlib.nullcontext(path)


def _storescu(archive: StoreScp, paths: list[Path], repeat: int) -> float:
    path = program("storescu")
    assert path is not None  # noqa: S101  `run` has looked; for the type checker
    argv = [path, "-aec", archive.ae_title, "-pdu", "131072", "--repeat", str(repeat), LOOPBACK, str(archive.port)]
    started = time.perf_counter()
    subprocess.run([*argv, *map(str, paths)], check=True, env={**os.environ, "TCP_NODELAY": "1"})
    return len(paths) * repeat / (time.perf_counter() - started)
