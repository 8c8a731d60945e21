"""From an order's last byte to its step in a worklist answer, on a whole Fiducial that has nothing else to do."""

import math
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.dicom import WORKLIST, Association, find_command, message
from benchmarks.hl7 import NotAccepted, order
from benchmarks.objects import query_for
from benchmarks.ours import AE_TITLE, DURABLE, Installation
from benchmarks.rounds import OURS, Plan, Row, summary

_PATIENCE = 60.0
_QUIET = 0.1
"""Seconds between orders, so that each finds the system at rest."""
_BETWEEN = 0.002
"""Seconds between questions: without a pause they would take the processor from what is measured."""


def run(plan: Plan, ours: Installation, folder: Path) -> Iterator[Row]:
    with ours.running("up", ours.dicom_port, ours.hl7_port, ours.http_port):
        rounds = [[_one(ours, f"L{turn}X{n}") for n in range(plan.orders)] for turn in range(plan.rounds)]
    settings = f"all processes of manage.py up, one order at a time ({DURABLE})"
    for metric, values in (("p50", list(map(median, rounds))), ("p95", list(map(_p95, rounds)))):
        yield summary(f"order on the worklist, {metric}", OURS, settings, metric, "ms", values, None)


def _one(ours: Installation, number: str) -> float:
    """Milliseconds."""
    with (
        Association(ours.dicom_port, called=AE_TITLE, sop_class_uid=WORKLIST) as modality,
        socket.create_connection(("127.0.0.1", ours.hl7_port)) as ris,
    ):
        question = message(find_command(), query_for(f"A{number}"), modality.maximum)
        modality.ask(question)
        time.sleep(_QUIET)
        ris.sendall(order(number))
        started = time.perf_counter()
        if b"MSA|AA|" not in ris.recv(65536):
            raise NotAccepted("the order was refused")
        while not modality.ask(question):
            if time.perf_counter() - started > _PATIENCE:
                raise TimeoutError(f"the order was not on the worklist within {_PATIENCE:g} s")
            time.sleep(_BETWEEN)
        return (time.perf_counter() - started) * 1000


def _p95(values: list[float]) -> float:
    """Nearest rank."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]
