"""From an order's last byte to its step in a worklist answer, and from a study's last object to its match.

On a whole Fiducial that has nothing else to do.
"""

import math
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from pydicom.uid import CTImageStorage

from benchmarks.dicom import WORKLIST, Association, find_command, message
from benchmarks.hl7 import NotAccepted, order
from benchmarks.objects import SMALL_EDGE, image_of, query_for, store_messages
from benchmarks.ours import AE_TITLE, DURABLE, QUIET_SECONDS, Installation
from benchmarks.rounds import OURS, Plan, Row, summary

_PATIENCE = 60.0
_QUIET = 0.1
"""Seconds between orders, so that each finds the system at rest."""
_OBJECTS = 10
"""Of a study."""
_LOOK = 0.05
"""Seconds between looks at what is matched."""
_BETWEEN = 0.002
"""Seconds between questions: without a pause they would take the processor from what is measured."""


def run(plan: Plan, ours: Installation, folder: Path) -> Iterator[Row]:
    with ours.running("up", ours.dicom_port, ours.hl7_port, ours.http_port):
        rounds = [[_one(ours, f"L{turn}X{n}") for n in range(plan.orders)] for turn in range(plan.rounds)]
        matches = [_matches(ours, [f"M{turn}X{n}" for n in range(plan.matched)]) for turn in range(plan.rounds)]
    settings = f"all processes of manage.py up, one order at a time ({DURABLE})"
    yield from _percentiles("order on the worklist", settings, rounds)
    settings = f"{plan.matched} studies of {_OBJECTS} objects, beyond the {QUIET_SECONDS:g} s in which more may come"
    yield from _percentiles("study matched", settings, matches)


def _percentiles(name: str, settings: str, rounds: list[list[float]]) -> Iterator[Row]:
    for metric, values in (("p50", list(map(median, rounds))), ("p95", list(map(_p95, rounds)))):
        yield summary(f"{name}, {metric}", OURS, settings, metric, "ms", values, None)


def _one(ours: Installation, number: str) -> float:
    """Milliseconds."""
    with (
        Association(ours.dicom_port, called=AE_TITLE, sop_class_uid=WORKLIST) as modality,
        socket.create_connection(("127.0.0.1", ours.hl7_port)) as ris,
    ):
        question = message(find_command(), query_for(f"A{number}"), modality.maximum)
        modality.ask(question)
        time.sleep(_QUIET)
        started = _place(ris, number)
        while not modality.ask(question):
            if time.perf_counter() - started > _PATIENCE:
                raise TimeoutError(f"the order was not on the worklist within {_PATIENCE:g} s")
            time.sleep(_BETWEEN)
        return (time.perf_counter() - started) * 1000


def _place(ris: socket.socket, number: str) -> float:
    """Send an order that is accepted; the moment of its last byte."""
    ris.sendall(order(number))
    sent = time.perf_counter()
    if b"MSA|AA|" not in ris.recv(65536):
        raise NotAccepted("the order was refused")
    return sent


def _matches(ours: Installation, numbers: list[str]) -> list[float]:
    """Milliseconds from when each study was quiet until it was matched to its order."""
    from orchestrator.models import Study  # Django is set up by `run`

    with socket.create_connection(("127.0.0.1", ours.hl7_port)) as ris:
        for number in numbers:
            _place(ris, number)
    quiet: dict[str, float] = {}
    for number in numbers:
        image = image_of(number)
        with Association(ours.dicom_port, called=AE_TITLE, sop_class_uid=CTImageStorage) as station:
            for each in store_messages(_OBJECTS, SMALL_EDGE, station.maximum, like=image):
                station.ask(each)
        quiet[str(image.StudyInstanceUID)] = time.perf_counter() + QUIET_SECONDS
    took: list[float] = []
    while quiet:
        matched = Study.objects.filter(study_instance_uid__in=quiet, identity="MATCHED")
        uids = list(matched.values_list("study_instance_uid", flat=True))
        took += [(time.perf_counter() - quiet.pop(uid)) * 1000 for uid in uids]
        if any(time.perf_counter() - since > _PATIENCE for since in quiet.values()):
            raise TimeoutError(f"a study was not matched within {_PATIENCE:g} s")
        time.sleep(_LOOK)
    return took


def _p95(values: list[float]) -> float:
    """Nearest rank."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]
