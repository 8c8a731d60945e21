"""Visits, as PV1 tells of them."""

from dataclasses import dataclass
from datetime import datetime

from orchestrator.models import Patient, Site, Visit
from orchestrator.services.orders import project_visit
from orchestrator.services.workflow import transition
from orchestrator.states import VisitStatus


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


def upsert_visit(*, data: VisitData, patient: Patient, site: Site, active: bool) -> Visit | None:
    """The visit of this number at the site; None when PV1 has no number. `active`: the patient is here."""
    if not data.visit_number:
        return None
    visit = Visit.objects.filter(site=site, visit_number=data.visit_number[:64]).first()
    if visit is None:
        visit = Visit(site=site, visit_number=data.visit_number[:64], patient=patient)
    columns = (
        ("patient_class", 2), ("location", 120), ("attending_physician", 324), ("referring_physician", 324),
        ("ambulatory_status", 2),
    )  # fmt: skip
    for name, length in columns:
        if value := getattr(data, name):
            setattr(visit, name, value[:length])
    visit.admitted_at = data.admitted_at or visit.admitted_at
    visit.save()
    if active and visit.status == VisitStatus.PLANNED:
        transition(visit, "visit.started")
    project_visit(visit)
    return visit
