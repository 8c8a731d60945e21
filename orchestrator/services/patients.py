"""Patients and their identifiers, as HL7 tells of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from orchestrator.models import (
    HL7Application,
    Issuer,
    Patient,
    PatientIdentifier,
    PatientWord,
    Site,
    fold_name,
    words_to_keep,
)
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
    # A patient event (ADT) leads; the PID of an order follows: it changes nothing that an event said.
    leads: bool = True
    # What it says is meant to change what is known (A08, A31).
    updates: bool = False
    # A person has seen that it makes another person of a known patient, and wants it.
    confirmed: bool = False


class IdentityConflict(Exception):
    """It cannot be told who is meant, or somebody else would be made of a known patient. The text is for a person."""


# Applying such a message once more is a person's word that it is the same patient.
ANOTHER_PERSON = "this patient is known as another person (another name, and not the same birth date)"


def known_issuer(data: IdentifierData, *, site: Site, interface: HL7Application | None) -> Issuer | None:
    """The assigning authority, by namespace or universal id; without either the sender's default, else the site's.

    None when it is new. Raises IdentityConflict when namespace and universal id name two.
    """
    default = (interface.default_issuer if interface else None) or site.default_issuer
    if not data.universal_id and (not data.namespace or (default and default.namespace == data.namespace)):
        return default
    by_name = Issuer.objects.filter(namespace=data.namespace).first() if data.namespace else None
    by_id = Issuer.objects.filter(universal_id=data.universal_id).first() if data.universal_id else None
    own = by_name.universal_id if by_name else None
    if by_name and ((by_id and by_id != by_name) or (own and data.universal_id and own != data.universal_id)):
        raise IdentityConflict("namespace and universal id of the assigning authority name two different ones")
    return by_name or by_id


def find_issuer(data: IdentifierData, *, site: Site, interface: HL7Application | None = None) -> Issuer:
    """As `known_issuer`; a new one is made, named after the site when nobody names it (docs/adr/0007)."""
    issuer = known_issuer(data, site=site, interface=interface)
    if issuer is None and not data.namespace and not data.universal_id:
        issuer, _ = Issuer.objects.get_or_create(namespace=site.code)
    elif issuer is None:
        issuer = Issuer.objects.create(
            namespace=data.namespace or None,
            universal_id=data.universal_id or None,
            universal_id_type=data.universal_id_type,
        )
    elif data.universal_id and not issuer.universal_id:
        issuer.universal_id, issuer.universal_id_type = data.universal_id, data.universal_id_type
        issuer.save()
    return issuer


def key_of(data: IdentifierData, *, site: Site, interface: HL7Application | None) -> str:
    """A text that is the same for the same identifier, by whichever name of its issuer."""
    try:
        issuer = known_issuer(data, site=site, interface=interface)
    except IdentityConflict:
        issuer = None
    return f"patient|{issuer or data.namespace or data.universal_id}|{data.value}"


def _learn_default_issuer(site: Site, issuer: Issuer) -> None:
    """The first issuer that HL7 names becomes the default of a site that is the only one (docs/adr/0007)."""
    if site.default_issuer_id is None and Site.objects.count() == 1:
        site.default_issuer = issuer
        site.save(update_fields=["default_issuer"])
        record("site.default_issuer_learned", site, detail={"issuer": issuer.pk})


def surviving(patient: Patient) -> Patient:
    """The record that a merged one lives on in."""
    while patient.merged_into is not None:
        patient = patient.merged_into
    return patient


Issued = Sequence[tuple[Issuer, IdentifierData]]


def upsert_patient(*, data: PatientData, site: Site, interface: HL7Application | None = None) -> Patient:
    """The patient of the identifiers, brought up to date; a new one when none is known.

    An older message (by its own time) does not undo newer demographics; it still adds identifiers.
    Raises IdentityConflict.
    """
    issued = [(find_issuer(each, site=site, interface=interface), each) for each in data.identifiers]
    primary = _primary(issued, (interface.default_issuer if interface else None) or site.default_issuer)
    _learn_default_issuer(site, issued[primary][0])
    known = _known_identifiers(issued)
    patient = _patient_of(known)
    if patient and not data.confirmed and _is_another_person(patient, data):
        raise IdentityConflict(ANOTHER_PERSON)
    new = patient is None
    patient = patient or Patient()
    _update(patient, data, new=new, by_tombstone=bool(known) and all(each.patient != patient for each in known))
    added = _add_identifiers(patient, issued, known, primary=primary if new else None)
    patient.sites.add(site)
    if added and not new:
        record("patient.updated", patient, detail={"changed": ["identifiers"]})
        # Other Patient IDs are in the worklist's answers.
        project_patient(patient)
    return patient


def _add_identifiers(
    patient: Patient, issued: Issued, known: Sequence[PatientIdentifier], *, primary: int | None
) -> bool:
    """Write those that are not here; whether there were any."""
    here = {(each.issuer_id, each.value) for each in known}
    before = len(here)
    for number, (issuer, each) in enumerate(issued):
        if (issuer.pk, each.value) not in here:
            here.add((issuer.pk, each.value))
            PatientIdentifier.objects.create(
                patient=patient, issuer=issuer, value=each.value, type_code=each.type_code[:8],
                primary=number == primary,
            )  # fmt: skip
    return len(here) > before


def _primary(issued: Issued, default: Issuer | None) -> int:
    """Which identifier modalities should know the patient by: of the default issuer, else a medical record number."""
    ranks = [(issuer != default, each.type_code not in ("MR", "PI")) for issuer, each in issued]
    return ranks.index(min(ranks))


def _known_identifiers(issued: Issued) -> list[PatientIdentifier]:
    """Those of the identifiers that are here."""
    pairs = {(issuer.pk, each.value) for issuer, each in issued}
    found = PatientIdentifier.objects.select_related("patient").filter(
        issuer__in={issuer for issuer, _ in pairs}, value__in={value for _, value in pairs}
    )
    return [each for each in found if (each.issuer_id, each.value) in pairs]


def _patient_of(identifiers: Sequence[PatientIdentifier]) -> Patient | None:
    """The one patient of these identifiers, through merges, locked: another interface may speak of them too."""
    found = {surviving(each.patient).pk for each in identifiers}
    if len(found) > 1:
        raise IdentityConflict("the identifiers belong to different patients, who are not merged")
    return Patient.objects.select_for_update(of=("self",), no_key=True).get(pk=found.pop()) if found else None


def _is_another_person(patient: Patient, data: PatientData) -> bool:
    """Whether a known identifier comes with a person who has nothing of the known one: a number used again, or wrong.

    Another name is believed when the birth date says that it is the same person, never when it is missing. An update
    may change name and birth date, as when somebody unknown becomes known, but not the sex with them.
    """
    names = set(patient.folded_name.split()), set(fold_name(data.name or "").split())
    other_name = all(names) and names[0].isdisjoint(names[1])
    if not data.updates:
        return other_name and (not data.birth_date or data.birth_date != patient.birth_date)
    other_birth_date = bool(patient.birth_date and data.birth_date) and patient.birth_date != data.birth_date
    other_sex = bool(patient.sex and data.sex) and patient.sex != data.sex
    return other_name and other_birth_date and other_sex


def _is_late(patient: Patient, data: PatientData) -> bool:
    """Whether something newer was said: what orders say is never newer than a patient event."""
    if data.at is None or patient.demographics_at is None or (data.leads and not patient.told_by_event):
        return False
    return data.at < patient.demographics_at


def _changes(patient: Patient, data: PatientData) -> dict[str, object]:
    """The demographics that the message would change."""
    changes: dict[str, object] = {}
    if data.name is not None and data.name[:324] != patient.name:
        changes["name"] = data.name[:324]
    if data.birth_date is not None and (data.birth_date or None) != patient.birth_date:
        changes["birth_date"] = data.birth_date or None
    if data.sex is not None and data.sex != patient.sex:
        changes["sex"] = data.sex
    return changes


def _update(patient: Patient, data: PatientData, *, new: bool, by_tombstone: bool) -> None:
    changes = _changes(patient, data)
    if by_tombstone or _is_late(patient, data):
        # Said under a number that was merged away, or before what is known: it undoes nothing.
        if changes:
            record("patient.late_update_ignored", patient)
        return
    leads = data.leads or data.confirmed
    if patient.told_by_event and not leads:
        differing = sorted(name for name in changes if getattr(patient, name))
        changes = {name: value for name, value in changes.items() if name not in differing}
        if differing:
            record("patient.order_differs", patient, detail={"differing": differing})
    else:
        # The newest word on it, even when it says nothing new: what is older must not undo it.
        patient.demographics_at = data.at or patient.demographics_at
        patient.told_by_event = patient.told_by_event or leads
    if not changes and not new:
        columns = {"demographics_at": patient.demographics_at, "told_by_event": patient.told_by_event}
        Patient.objects.filter(pk=patient.pk).update(**columns)
        return
    for column, value in changes.items():
        setattr(patient, column, value)
    patient.folded_name = fold_name(patient.name)
    patient.save()
    if new:
        _add_words(patient)
    elif "name" in changes:
        keep_words(patient)
    record("patient.registered" if new else "patient.updated", patient, detail={"changed": sorted(changes)})
    if not new:
        project_patient(patient)


def keep_words(patient: Patient) -> None:
    """The words that the patient is found by, after the name was written."""
    patient.words.all().delete()
    _add_words(patient)


def _add_words(patient: Patient) -> None:
    PatientWord.objects.bulk_create(PatientWord(patient=patient, word=word) for word in words_to_keep(patient.name))
