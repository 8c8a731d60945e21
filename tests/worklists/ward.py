"""Orders on a worklist, and modalities that ask, for the tests of the worklists."""

import datetime as dt
import itertools
from collections.abc import Callable
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from orchestrator.dimse.messages import Peer, Request, Response
from orchestrator.models import (
    ImagingServiceRequest,
    Issuer,
    Patient,
    PatientIdentifier,
    RequestedProcedure,
    ScheduledProcedureStep,
    Site,
)
from worklists.dimse import find_worklist
from worklists.models import MatchValue, ScheduledStation, WorklistEntry
from worklists.services.steps import project

WORKLIST = "1.2.840.10008.5.1.4.31"
DAY, HALF_PAST_TEN = dt.date(2026, 7, 5), dt.time(10, 30)
_numbers = itertools.count(1)


def schedule(
    *,
    name: str = "DOE^JANE",
    patient_id: str = "",
    day: dt.date | None = DAY,
    time: dt.time | None = HALF_PAST_TEN,
    modality: str = "CT",
    stations: tuple[str, ...] = ("CT_NORTH",),
    physician: str = "",
    **columns: Any,
) -> ScheduledProcedureStep:
    """One order with one procedure and one step, projected."""
    number = next(_numbers)
    site = Site.objects.get(code="MAIN")
    issuer, _ = Issuer.objects.get_or_create(namespace="MAIN")
    patient = Patient.objects.create(name=name, birth_date=dt.date(1970, 2, 28), sex="F")
    PatientIdentifier.objects.create(patient=patient, value=patient_id or f"P{number}", issuer=issuer, primary=True)
    order = ImagingServiceRequest.objects.create(
        site=site, patient=patient, accession_number=f"A{number}", placer_order_number=f"PL{number}"
    )
    procedure = RequestedProcedure.objects.create(
        order=order,
        requested_procedure_id=f"RP{number}",
        study_instance_uid=generate_uid(),
        code_value="CTHEAD",
        coding_scheme_designator="99LAB",
        code_meaning="CT head",
        description="CT head",
    )
    step = ScheduledProcedureStep.objects.create(
        procedure=procedure,
        site=site,
        sps_id=f"S{number}",
        modality=modality,
        station_ae_titles=list(stations),
        start_date=day,
        start_time=time,
        performing_physician=physician,
        **columns,
    )
    project([step.pk])
    return step


def kept() -> list[Any]:
    """All that the worklist is answered from."""
    columns = [field.attname for field in WorklistEntry._meta.fields]
    entries = [
        tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
        for row in WorklistEntry.objects.order_by("pk").values_list(*columns)
    ]
    stations = ScheduledStation.objects.values_list("entry", "site", "ae_title", "start", "modality")
    return [entries, sorted(stations), sorted(MatchValue.objects.values_list("entry", "key", "value"))]


def peer(ae_title: str = "CT_NORTH", application_entity_id: int | None = None, site: Site | None = None) -> Peer:
    site_id = (site or Site.objects.get(code="MAIN")).pk
    return Peer(ae_title, "FIDUCIAL", "127.0.0.1", "1", application_entity_id, site_id)


def encoded(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, syntax == ImplicitVRLittleEndian
    write_dataset(buffer, ds)
    return buffer.getvalue()


def decoded(data: bytes, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    return read_dataset(BytesIO(data), syntax == ImplicitVRLittleEndian, True, bytelength=len(data))


def keys(step: dict[str, Any] | None = None, **top: Any) -> Dataset:
    """A worklist identifier: attributes by keyword, those of the step in `step`."""
    ds, item = Dataset(), Dataset()
    for keyword, value in {"PatientName": "", "PatientID": "", **top}.items():
        setattr(ds, keyword, value)
    for keyword, value in {"ScheduledProcedureStepID": "", **(step or {})}.items():
        setattr(item, keyword, value)
    ds.ScheduledProcedureStepSequence = [item]
    return ds


def ask(
    identifier: Dataset | bytes,
    *,
    syntax: str = ExplicitVRLittleEndian,
    caller: Peer | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> list[Response]:
    """Every response to a worklist query."""
    data = identifier if isinstance(identifier, bytes) else encoded(identifier, syntax)
    request = Request(
        caller or peer(), "C-FIND", WORKLIST, transfer_syntax_uid=syntax, dataset=data, is_cancelled=is_cancelled
    )
    return list(find_worklist(request))


def found(identifier: Dataset, **words: Any) -> list[str]:
    """The SPS IDs that a query finds, in order."""
    *pending, final = ask(identifier, **words)
    assert final.status == 0, hex(final.status)
    syntax = words.get("syntax", ExplicitVRLittleEndian)
    steps = [decoded(each.dataset, syntax).ScheduledProcedureStepSequence[0] for each in pending]
    return [str(step.ScheduledProcedureStepID) for step in steps]
