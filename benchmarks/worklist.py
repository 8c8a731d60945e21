"""Worklist queries a second, each on an association of its own, beside DCMTK's wlmscpfs and Orthanc's plugin."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.dicom import WORKLIST, Association, Refused, find_command, message
from benchmarks.objects import ANSWERS, DESCRIPTION, new_uid, padded, query, station, worklist_file
from benchmarks.ours import AE_TITLE, DATABASE, DURABLE, Installation, broker, installation
from benchmarks.rounds import OURS, Contender, Plan, Row, compare
from tests.peers import missing, orthanc, wlmscpfs

if TYPE_CHECKING:
    from orchestrator.models import RequestedProcedure, ScheduledProcedureStep

_FEWEST = 2
_BATCH = 500
# Beyond these our entries are copies of an encoded one under other numbers, and the peers read files no more.
_ENCODED, _MOST_FILES = 1_000, 10_000


def run(plan: Plan, ours: Installation, folder: Path) -> Iterator[Row]:
    entries = folder / "worklist" / AE_TITLE
    entries.mkdir(parents=True)
    (entries / "lockfile").touch()
    there = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(broker())
        stack.enter_context(ours.running("listen_dicom", ours.dicom_port))
        play = partial(_queries, ours.dicom_port, plan.query_seconds)
        contenders = [Contender(OURS, f"indexed, queries recorded ({DURABLE})", play)]
        peers = list(_peers(stack, folder, plan.query_seconds))
        for steps in plan.steps:
            schedule(there, steps)
            bearable = steps <= _MOST_FILES
            if bearable and peers:
                for number in range(there, steps):
                    worklist_file(number).save_as(entries / f"{number}.wl", enforce_file_format=True)
            there = steps
            name = f"worklist, {steps:,} steps, {ANSWERS} found"
            playing = [*contenders, *peers] if bearable else contenders
            yield from compare(name, metric="throughput", unit="queries/s", contenders=playing, rounds=plan.rounds)
            if steps == plan.steps[0]:
                contenders.append(_as_now(stack, ours, folder / "fewest", plan.query_seconds))


def _as_now(stack: contextlib.ExitStack, ours: Installation, folder: Path, seconds: float) -> Contender:
    """A second Fiducial that stays with the steps there are now, to be asked in turn with the one that gets more."""
    fewest = installation(folder)
    with (
        contextlib.closing(sqlite3.connect(ours.data_dir / DATABASE)) as now,
        contextlib.closing(sqlite3.connect(fewest.data_dir / DATABASE)) as copy,
    ):
        now.backup(copy)
    stack.enter_context(fewest.running("listen_dicom", fewest.dicom_port))
    settings = f"a copy from then ({DURABLE})"
    return Contender(f"{OURS} at the fewest steps", settings, partial(_queries, fewest.dicom_port, seconds))


def _peers(stack: contextlib.ExitStack, folder: Path, seconds: float) -> Iterator[Contender]:
    if not missing("dcmtk"):
        port = stack.enter_context(wlmscpfs(folder / "worklist"))
        yield Contender("wlmscpfs", "one file per step; -csk", partial(_queries, port, seconds))
    plugin = Path("/usr/share/orthanc/plugins/libModalityWorklists.so")
    if missing("orthanc"):
        return
    if not plugin.exists():
        print(f"left out: Orthanc's worklist plugin is not installed ({plugin} not found)")
    else:
        database = {"Enable": True, "Database": str(folder / "worklist" / AE_TITLE)}
        options: dict[str, Any] = {
            "Plugins": [str(plugin)],
            "Worklists": database,
            "DicomAlwaysAllowFindWorklist": True,
        }
        peer = stack.enter_context(orthanc(folder / "orthanc-worklist", **options))
        yield Contender(
            "orthanc", "one file per step; its worklist plugin", partial(_queries, peer.dicom_port, seconds)
        )


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


def schedule(first: int, last: int) -> None:
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
            Patient(name=f"BENCH^{padded(n)}", birth_date=date(1970, 1, 1), sex="O") for n in numbers
        )
        PatientIdentifier.objects.bulk_create(
            PatientIdentifier(patient=patient, value=f"B{padded(n)}", issuer=issuer, primary=True)
            for n, patient in zip(numbers, patients, strict=True)
        )
        orders = ImagingServiceRequest.objects.bulk_create(
            ImagingServiceRequest(
                site=site, patient=patient, accession_number=f"A{padded(n)}", placer_order_number=f"P{padded(n)}"
            )
            for n, patient in zip(numbers, patients, strict=True)
        )
        procedures = RequestedProcedure.objects.bulk_create(
            RequestedProcedure(
                order=order,
                requested_procedure_id=f"R{padded(n)}",
                study_instance_uid=new_uid(),
                description=DESCRIPTION,
            )
            for n, order in zip(numbers, orders, strict=True)
        )
        steps = ScheduledProcedureStep.objects.bulk_create(
            ScheduledProcedureStep(
                procedure=procedure, site=site, sps_id=f"S{padded(n)}", modality="CT", description=DESCRIPTION,
                station_ae_titles=[station(n)], start_date=today, start_time=half_past_ten,
            )
            for n, procedure in zip(numbers, procedures, strict=True)
        )  # fmt: skip
        if start < _ENCODED:
            project([step.pk for step in steps])
        else:
            _copy_entries(numbers, steps, procedures)


def _copy_entries(
    numbers: range, steps: "Sequence[ScheduledProcedureStep]", procedures: "Sequence[RequestedProcedure]"
) -> None:
    """What `project` would make of these steps: to encode 100,000 takes longer than all measurements."""
    from worklists.models import MatchValue, ScheduledStation, WorklistEntry

    first = _ENCODED - 1
    model = WorklistEntry.objects.get(sps_id=f"S{padded(first)}")
    names = list(MatchValue.objects.filter(entry=model))
    entries, stations, copies = [], [], []
    for number, step, procedure in zip(numbers, steps, procedures, strict=True):
        renaming = (
            (model.study_instance_uid, procedure.study_instance_uid),
            (station(first), station(number)),
            (padded(first), padded(number)),
        )
        entry = WorklistEntry(**{field.attname: getattr(model, field.attname) for field in WorklistEntry._meta.fields})
        entry.pk, entry.answer = step.pk, bytes(model.answer)
        for old, new in renaming:
            entry.answer = entry.answer.replace(old.encode(), new.encode())
            for name in ("patient_id", "accession_number", "requested_procedure_id", "study_instance_uid", "sps_id"):
                setattr(entry, name, getattr(entry, name).replace(old, new))
        entries.append(entry)
        stations.append(
            ScheduledStation(
                entry_id=step.pk, site_id=entry.site_id, ae_title=station(number), start=entry.start,
                modality=entry.modality,
            )
        )  # fmt: skip
        copies += [MatchValue(entry_id=step.pk, key=each.key, value=each.value.replace(*renaming[2])) for each in names]
    WorklistEntry.objects.bulk_create(entries)
    ScheduledStation.objects.bulk_create(stations)
    MatchValue.objects.bulk_create(copies)
