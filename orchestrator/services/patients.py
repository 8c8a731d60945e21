"""Patients and their identifiers, as HL7 tells of them."""

import unicodedata
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from orchestrator.models import Issuer, Patient, PatientIdentifier, Site
from orchestrator.services.messages import learn_default_issuer
from orchestrator.services.orders import project_patient
from orchestrator.services.workflow import record


@dataclass(frozen=True)
class IdentifierData:
    """A CX: id, assigning authority (namespace, universal id and type), type code."""

    value: str
    namespace: str = ""
    universal_id: str = ""
    universal_id_type: str = ""
    type_code: str = ""


@dataclass(frozen=True)
class PatientData:
    """Demographics; None leaves a value as it is, an empty string deletes it (HL7's `""`)."""

    identifiers: list[IdentifierData]
    name: str | None = None
    birth_date: date | Literal[""] | None = None
    sex: str | None = None
    at: datetime | None = None
    # A patient event leads; the PID of an order follows: of the same moment, it does not undo what an event said.
    leads: bool = True
    others: dict[str, str] = field(default_factory=dict)


def fold_name(name: str) -> str:
    """A person name for comparison: upper case, no accents, parts in alphabetical order, component groups alike."""
    plain = unicodedata.normalize("NFKD", name.upper())
    letters = "".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    return " ".join(sorted(letters.split()))[:324]


def find_issuer(data: IdentifierData, *, site: Site) -> Issuer:
    """The assigning authority: by namespace or universal id, which name the same one; the site's default without."""
    if not data.namespace and not data.universal_id:
        if site.default_issuer is None:
            issuer, _ = Issuer.objects.get_or_create(namespace=site.code)
            learn_default_issuer(site, issuer)
            return issuer
        return site.default_issuer
    issuer_by_name = Issuer.objects.filter(namespace=data.namespace).first() if data.namespace else None
    issuer_by_id = Issuer.objects.filter(universal_id=data.universal_id).first() if data.universal_id else None
    found = issuer_by_name or issuer_by_id
    if found is None:
        found = Issuer.objects.create(
            namespace=data.namespace or None,
            universal_id=data.universal_id or None,
            universal_id_type=data.universal_id_type,
        )
    elif issuer_by_name and data.universal_id and issuer_by_id is None and not found.universal_id:
        found.universal_id, found.universal_id_type = data.universal_id, data.universal_id_type
        found.save()
    learn_default_issuer(site, found)
    return found


def surviving(patient: Patient) -> Patient:
    """The record that a merged one lives on in."""
    while patient.merged_into is not None:
        patient = patient.merged_into
    return patient


def find_patient(issuer: Issuer, value: str) -> Patient | None:
    """The patient of an identifier, through merges."""
    found = PatientIdentifier.objects.select_related("patient").filter(issuer=issuer, value=value).first()
    return surviving(found.patient) if found else None


def upsert_patient(*, data: PatientData, site: Site) -> Patient:
    """The patient of the first known identifier, brought up to date; a new one when none is known.

    An older message (by its own time) does not undo newer demographics; it still adds identifiers.
    """
    issued = [(find_issuer(each, site=site), each) for each in data.identifiers]
    known = next((p for issuer, each in issued if (p := find_patient(issuer, each.value))), None)
    patient = known or Patient.objects.create()
    has_more = False
    for number, (issuer, each) in enumerate(issued):
        _, is_new = PatientIdentifier.objects.get_or_create(
            issuer=issuer,
            value=each.value,
            defaults={"patient": patient, "type_code": each.type_code[:8], "primary": known is None and number == 0},
        )
        has_more |= is_new
    patient.sites.add(site)
    _update(patient, data, new=known is None)
    if has_more and known is not None:
        # Other Patient IDs are in the worklist's answers.
        project_patient(patient)
    return patient


def _is_late(patient: Patient, data: PatientData) -> bool:
    if data.at is None or patient.demographics_at is None:
        return False
    return data.at < patient.demographics_at or (not data.leads and data.at == patient.demographics_at)


def _update(patient: Patient, data: PatientData, *, new: bool) -> None:
    changes: dict[str, object] = {}
    if data.name is not None and data.name != patient.name:
        changes |= {"name": data.name[:324], "folded_name": fold_name(data.name)}
    if data.birth_date is not None and (data.birth_date or None) != patient.birth_date:
        changes["birth_date"] = data.birth_date or None
    if data.sex is not None and data.sex != patient.sex:
        changes["sex"] = data.sex
    if not new and _is_late(patient, data):
        if changes:
            record("patient.late_update_ignored", patient)
        return
    if not changes and not new:
        # The newest word on it, though it says nothing new: what is older must not undo it.
        Patient.objects.filter(pk=patient.pk).update(demographics_at=data.at or patient.demographics_at)
        return
    for column, value in changes.items():
        setattr(patient, column, value)
    patient.demographics_at = data.at or patient.demographics_at
    patient.save()
    record("patient.registered" if new else "patient.updated", patient, detail={"changed": sorted(changes)})
    if not new:
        project_patient(patient)
