"""Visits, as PV1 tells of them."""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.models import Patient, Site, Visit
from orchestrator.services.orders import project_visit
from orchestrator.services.patients import surviving
from orchestrator.services.workflow import transition
from orchestrator.states import VisitStatus


class OtherPatient(Exception):
    """The visit of this number is another patient's. The text is for a person."""


@dataclass(frozen=True)
class VisitData:
    """PV1; empty values leave what is known."""

    visit_number: str
    patient_class: str = ""
    location: str = ""
    attending_physician: str = ""
    referring_physician: str = ""
    ambulatory_status: str = ""
    admitted_at: datetime | None = None


_COLUMNS = (
    ("patient_class", 2), ("location", 120), ("attending_physician", 324), ("referring_physician", 324),
    ("ambulatory_status", 2),
)  # fmt: skip


def upsert_visit(*, data: VisitData, patient: Patient, site: Site, active: bool) -> Visit | None:
    """The visit of this number at the site; None when PV1 has no number. `active`: the patient is here.

    Raises OtherPatient: a visit never changes its patient by a number that was used twice.
    """
    if not data.visit_number:
        return None
    number = data.visit_number[:64]
    visit = Visit.objects.select_for_update(of=("self",), no_key=True).filter(site=site, visit_number=number).first()
    if visit is not None and surviving(visit.patient) != patient:
        raise OtherPatient("the visit belongs to another patient")
    new = visit is None
    if visit is None:
        visit = Visit(site=site, visit_number=number, patient=patient)
    said: dict[str, object] = {name: getattr(data, name)[:length] for name, length in _COLUMNS}
    said["admitted_at"] = data.admitted_at
    changes = {name: value for name, value in said.items() if value and value != getattr(visit, name)}
    for name, value in changes.items():
        setattr(visit, name, value)
    if changes or new:
        visit.save()
    if active and visit.status == VisitStatus.PLANNED:
        transition(visit, "visit.started")
    if changes and not new:
        project_visit(visit)
    return visit
