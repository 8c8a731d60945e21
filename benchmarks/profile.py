"""`python -m benchmarks.profile [--objects N] [--queries N]`: where the time of the two hottest paths goes.

The listener runs in this process, its threads under cProfile with the clock of their own CPU time; what waits for the
disk is measured beside it. cProfile makes Python's own calls look dearer than they are: read shares, not sums.
"""

import argparse
import cProfile
import os
import pstats
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import django
from django.core.management import call_command

from benchmarks.dicom import WORKLIST, Association, find_command, message
from benchmarks.objects import ANSWERS, SMALL_EDGE, query, store_messages
from benchmarks.ours import AE_TITLE, ROOT, installation

_STEPS = 1_000
_TOP = 12
# Where a function's file lies → the layer it belongs to; the first that fits.
_LAYERS = (
    ("orchestrator/dimse/registrar", "rows: the registrar"),
    ("orchestrator/services", "rows: the registrar"),
    ("orchestrator/dimse/wire", "network: PDUs, sockets"),
    ("orchestrator/dimse/assembly", "network: PDUs, sockets"),
    ("orchestrator/dimse/negotiation", "association"),
    ("orchestrator/dimse/association", "association"),
    ("orchestrator/dimse/server", "association"),
    ("orchestrator/dimse/commands", "command sets"),
    ("orchestrator/dimse/callers", "who calls"),
    ("orchestrator/dimse", "handler"),
    ("orchestrator/storage", "spool"),
    ("worklists", "handler"),
    ("orchestrator", "handler"),
    ("pydicom", "pydicom"),
    ("django/db", "database"),
    ("sqlite3", "database"),
    ("_socket.socket", "network: PDUs, sockets"),
    ("poll", "network: PDUs, sockets"),
    ("posix.", "spool"),
)


class Watch:
    """Profiles the threads that are given to it, and measures what waits for the disk."""

    def __init__(self) -> None:
        self._profiles: list[cProfile.Profile] = []
        self.waited = 0.0

    def thread(self, run: Callable[..., None]) -> Callable[..., None]:
        def profiled(*words: Any) -> None:
            profile = cProfile.Profile(time.thread_time)
            self._profiles.append(profile)
            profile.runcall(run, *words)

        return profiled

    @contextmanager
    def disk(self) -> Iterator[None]:
        fsync = os.fsync

        def timed(descriptor: Any) -> None:
            started = time.perf_counter()
            fsync(descriptor)
            self.waited += time.perf_counter() - started

        os.fsync = timed  # type: ignore[assignment]  # only names its argument otherwise
        try:
            yield
        finally:
            os.fsync = fsync

    def stats(self) -> pstats.Stats:
        stats = pstats.Stats(self._profiles[0])
        for each in self._profiles[1:]:
            stats.add(each)
        return stats


def layer_of(file: str, name: str) -> str:
    """The layer of a function; built-in ones have no file (`~`)."""
    where = f"{name} " if file == "~" else file.replace(f"{ROOT}/", "").rpartition("site-packages/")[2]
    return next((layer for part, layer in _LAYERS if part in where), "other")


def report(what: str, unit: str, number: int, seconds: float, watch: Watch) -> str:
    """CPU time by layer and by function, per object or query."""
    rows: Any = watch.stats().stats  # type: ignore[attr-defined]  # not in the stubs
    layers: dict[str, float] = defaultdict(float)
    functions: list[tuple[float, str]] = []
    for (file, line, name), (_, calls, own, _, _) in rows.items():
        layers[layer_of(file, name)] += own
        place = name if file == "~" else f"{Path(file).parent.name}/{Path(file).name}:{line} {name}"
        functions.append((own, f"{calls / number:7.1f} calls  {place}"))
    total = sum(layers.values())
    lines = [
        f"{what}: {number} {unit}s in {seconds:.1f} s, {1000 * total / number:.2f} ms of CPU each (profiled), "
        f"{1000 * watch.waited / number:.2f} ms waiting for fsync each",
        *_lines((own, layer) for layer, own in layers.items()),
        f"  the {_TOP} dearest functions, without what they call:",
        *_lines(functions),
    ]
    return "\n".join(lines)


def _lines(rows: Any) -> Iterator[str]:
    ordered = sorted(rows, reverse=True)
    total = sum(own for own, _ in ordered) or 1.0
    for own, text in ordered[:_TOP]:
        yield f"    {100 * own / total:5.1f} %  {text}"


@contextmanager
def _listening(watch: Watch) -> Iterator[int]:
    """Our listener in this process; its port."""
    from orchestrator.dimse import registrar, server, store_scp  # Django is set up by `main`

    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener = server.Listener(listening)
    listener._run = watch.thread(listener._run)  # type: ignore[method-assign]
    store_scp.registrar = registrar.Registrar()
    store_scp.registrar._thread = threading.Thread(target=watch.thread(store_scp.registrar._run), daemon=True)
    store_scp.registrar.start()
    accepting = threading.Thread(target=listener.serve, daemon=True)
    accepting.start()
    try:
        with watch.disk():
            yield int(listening.getsockname()[1])
    finally:
        listener.stop(10)
        accepting.join()
        store_scp.registrar.stop()
        listening.close()


def _in_another_process(port: int, what: str, number: int) -> float:
    """Seconds that the client needs: not in this process, or its work would be taken for ours."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.profile", "--client", what, str(port), str(number)],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(ended.stdout)


def _store(port: int, number: int) -> None:
    from pydicom.uid import CTImageStorage

    with Association(port, called=AE_TITLE, sop_class_uid=CTImageStorage) as association:
        for each in store_messages(number, SMALL_EDGE, association.maximum):
            association.ask(each)


def _find(port: int, number: int) -> None:
    for _ in range(number):
        with Association(port, called=AE_TITLE, sop_class_uid=WORKLIST) as association:
            found = association.ask(message(find_command(), query(), association.maximum))
            assert found == ANSWERS, found  # noqa: S101  a tool of ours


_CLIENTS = {"store": _store, "find": _find}


def main() -> None:
    words = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    words.add_argument("--objects", type=int, default=500)
    words.add_argument("--queries", type=int, default=200)
    words.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    chosen = words.parse_args()
    if sys.version_info >= (3, 12):
        words.error("needs Python 3.11: later ones profile all threads with one tool, which the threads cannot share")
    if chosen.client:
        what, port, number = chosen.client
        started = time.perf_counter()
        _CLIENTS[what](int(port), int(number))
        print(time.perf_counter() - started)
        return
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="work-", dir=results) as folder:
        os.environ.update(installation(Path(folder) / "data").environment)
        django.setup()
        call_command("migrate", interactive=False, verbosity=0)
        _profile(chosen.objects, chosen.queries)


def _profile(objects: int, queries: int) -> None:
    from benchmarks.worklist import schedule  # Django is set up by `main`

    schedule(0, _STEPS)
    for what, unit, kind, number in (
        ("C-STORE of 10 KB, 1 association", "object", "store", objects),
        (f"worklist query, {ANSWERS} of {_STEPS} steps, an association each", "query", "find", queries),
    ):
        watch = Watch()
        with _listening(watch) as port:
            play = partial(_in_another_process, port, kind)
            # Once before: imports, caches, prepared statements.
            play(2)
            seconds = play(number)
        print(report(what, unit, number, seconds, watch), end="\n\n")


if __name__ == "__main__":
    main()
