"""Worklist queries a second, each on an association of its own, beside DCMTK's wlmscpfs."""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.dicom import WORKLIST, Association, Refused, find_command, message
from benchmarks.objects import ANSWERS, DESCRIPTION, new_uid, query, station, worklist_file
from benchmarks.ours import AE_TITLE, DURABLE, Installation
from benchmarks.rounds import OURS, Contender, Plan, Row, compare
from tests.peers import missing, wlmscpfs

_FEWEST = 2
_BATCH = 500


def run(plan: Plan, ours: Installation, folder: Path) -> Iterator[Row]:
    peer_folder = folder / "wlmscpfs"
    entries = peer_folder / AE_TITLE
    entries.mkdir(parents=True)
    (entries / "lockfile").touch()
    there = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(ours.running("listen_dicom", ours.dicom_port))
        play = partial(_queries, ours.dicom_port, plan.query_seconds)
        contenders = [Contender(OURS, f"indexed, queries recorded ({DURABLE})", play)]
        if not missing("dcmtk"):
            play = partial(_queries, stack.enter_context(wlmscpfs(peer_folder)), plan.query_seconds)
            contenders.append(Contender("wlmscpfs", "one file per step; -csk", play))
        for steps in plan.steps:
            _schedule(there, steps)
            for number in range(there, steps):
                worklist_file(number).save_as(entries / f"{number}.wl", enforce_file_format=True)
            there = steps
            yield from compare(
                f"worklist, {steps:,} steps, {ANSWERS} found",
                metric="throughput", unit="queries/s", contenders=contenders, rounds=plan.rounds,
            )  # fmt: skip


def _queries(port: int, seconds: float) -> float:
    identifier, command = query(), find_command()
    started = time.perf_counter()
    for asked in count(1):
        with Association(port, called=AE_TITLE, sop_class_uid=WORKLIST) as association:
            found = association.ask(message(command, identifier, association.maximum))
        if found != ANSWERS:
            raise Refused(f"{found} steps found instead of {ANSWERS}")
        elapsed = time.perf_counter() - started
        if asked >= _FEWEST and elapsed > seconds:
            break
    return asked / elapsed


def _schedule(first: int, last: int) -> None:
    """Steps `first` to `last` with all that is above them, as orders would have made them."""
    from orchestrator.models import (  # Django is set up by `run`
        ImagingServiceRequest,
        Issuer,
        Patient,
        PatientIdentifier,
        RequestedProcedure,
        ScheduledProcedureStep,
        Site,
    )
    from worklists.services.steps import project

    site = Site.objects.earliest("pk")
    issuer, _ = Issuer.objects.get_or_create(namespace="BENCH")
    today, half_past_ten = datetime.now(tz=UTC).date(), time_of_day(10, 30)
    for start in range(first, last, _BATCH):
        numbers = range(start, min(start + _BATCH, last))
        patients = Patient.objects.bulk_create(
            Patient(name=f"BENCH^{n}", birth_date=date(1970, 1, 1), sex="O") for n in numbers
        )
        PatientIdentifier.objects.bulk_create(
            PatientIdentifier(patient=patient, value=f"B{n}", issuer=issuer, primary=True)
            for n, patient in zip(numbers, patients, strict=True)
        )
        orders = ImagingServiceRequest.objects.bulk_create(
            ImagingServiceRequest(site=site, patient=patient, accession_number=f"A{n}", placer_order_number=f"P{n}")
            for n, patient in zip(numbers, patients, strict=True)
        )
        procedures = RequestedProcedure.objects.bulk_create(
            RequestedProcedure(
                order=order, requested_procedure_id=f"R{n}", study_instance_uid=new_uid(), description=DESCRIPTION
            )
            for n, order in zip(numbers, orders, strict=True)
        )
        steps = ScheduledProcedureStep.objects.bulk_create(
            ScheduledProcedureStep(
                procedure=procedure, site=site, sps_id=f"S{n}", modality="CT", description=DESCRIPTION,
                station_ae_titles=[station(n)], start_date=today, start_time=half_past_ten,
            )
            for n, procedure in zip(numbers, procedures, strict=True)
        )  # fmt: skip
        project([step.pk for step in steps])
