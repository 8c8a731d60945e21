"""Memory of each process, at rest and after work; CPU that 20 idle associations cost."""

import contextlib
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.request import urlopen

from pydicom.uid import CTImageStorage

from benchmarks.cpu import family
from benchmarks.dicom import WORKLIST, Association
from benchmarks.hl7 import order
from benchmarks.objects import SMALL_EDGE, store_messages
from benchmarks.ours import AE_TITLE, DURABLE, Installation
from benchmarks.rounds import OURS, Plan, Row, summary
from tests.peers import wait_for

_ASSOCIATIONS = 20
_TICKS = os.sysconf("SC_CLK_TCK")


def run(plan: Plan, ours: Installation, folder: Path) -> Iterator[Row]:
    settings = f"all processes of manage.py up ({DURABLE})"
    with ours.running("up", ours.dicom_port, ours.hl7_port, ours.http_port) as supervisor:
        wait_for(lambda: _is_ready(ours), what="/readyz", seconds=120)
        at_rest = _memory(supervisor)
        with contextlib.ExitStack() as stack:
            for _ in range(_ASSOCIATIONS):
                stack.enter_context(Association(ours.dicom_port, called=AE_TITLE, sop_class_uid=WORKLIST))
            before, started = _cpu(supervisor), time.monotonic()
            time.sleep(plan.idle_seconds)
            share = 100 * (_cpu(supervisor) - before) / (time.monotonic() - started)
        _work(ours, plan)
        after = _memory(supervisor)
    yield summary(
        f"idle, {_ASSOCIATIONS} open associations", OURS, f"CPU of the DICOM listener's processes ({settings})",
        "CPU", "% of a core", [share], None,
    )  # fmt: skip
    work = f"{plan.small_objects} objects of 10 KB and {plan.orders} orders"
    for when, found in (("at rest", at_rest), (f"after {work}", after)):
        for name, sizes in sorted(found.items()):
            yield summary(f"memory, {name} ({len(sizes)})", OURS, f"{when}; {settings}", "PSS", "MB", sizes, None)


def _work(ours: Installation, plan: Plan) -> None:
    before = _applied(ours)
    with Association(ours.dicom_port, called=AE_TITLE, sop_class_uid=CTImageStorage) as association:
        for each in store_messages(plan.small_objects, SMALL_EDGE, association.maximum):
            association.ask(each)
    with socket.create_connection(("127.0.0.1", ours.hl7_port)) as ris:
        for number in range(plan.orders):
            ris.sendall(order(f"M{number}"))
            ris.recv(65536)
    wait_for(lambda: _applied(ours) >= before + plan.orders, what="all orders to be applied", seconds=300)


def _is_ready(ours: Installation) -> bool:
    with contextlib.suppress(OSError):
        return bool(urlopen(f"http://127.0.0.1:{ours.http_port}/readyz", timeout=10).status == HTTPStatus.OK)
    return False


def _applied(ours: Installation) -> int:
    with contextlib.closing(sqlite3.connect(ours.data_dir / "fiducial.sqlite3", timeout=20)) as database:
        query = "SELECT count(*) FROM orchestrator_inboundmessage WHERE status = 'APPLIED'"
        return int(database.execute(query).fetchone()[0])


def _name(pid: int) -> str:
    """What a process is: the command of manage.py, Celery's pool, or the program."""
    words = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").split()
    for word in ("listen_dicom", "listen_hl7", "web", "worker", "beat", "up"):
        if word in words:
            return word
    return Path(words[0]).name if words else "?"


def _memory(supervisor: int) -> dict[str, list[float]]:
    """MB of the processes of each kind (proc(5), Pss): of what several share each has a part."""
    found: dict[str, list[float]] = {}
    for pid in family(supervisor):
        with contextlib.suppress(FileNotFoundError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            sizes = {name: int(size) for name, size, _ in map(str.split, lines)}
            found.setdefault(_name(pid), []).append(sizes["Pss:"] / 1024)
    return found


def _cpu(supervisor: int) -> float:
    """Seconds that the DICOM listener's processes have used."""
    ticks = 0
    for pid in family(supervisor):
        if _name(pid) == "listen_dicom":
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS
