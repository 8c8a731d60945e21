"""What leaves otherwise than it came: corrections computed from the current patient and order of a claim."""

from collections.abc import Mapping

from django.db import transaction

from orchestrator.models import (
    Correction,
    Decision,
    IdentityClaim,
    ImagingServiceRequest,
    Patient,
    PatientIdentifier,
)
from orchestrator.services.workflow import record
from orchestrator.states import Identity

# DICOM keyword -> column of the claim that holds what was received.
RECEIVED: Mapping[str, str] = {
    "PatientName": "patient_name",
    "PatientID": "patient_id",
    "IssuerOfPatientID": "issuer",
    "UniversalEntityID": "issuer_universal_id",
    "PatientBirthDate": "birth_date",
    "PatientSex": "sex",
    "AccessionNumber": "accession_number",
}
# In the item of Issuer of Patient ID Qualifiers Sequence (0010,0024).
QUALIFIERS = ("UniversalEntityID", "UniversalEntityIDType")
# They leave with their ID: an ID under the issuer of another one would name somebody else.
ISSUER = ("IssuerOfPatientID", *QUALIFIERS)


def primary_identifier(patient: Patient) -> PatientIdentifier | None:
    return patient.identifiers.select_related("issuer").order_by("-primary", "pk").first()


def current_values(patient: Patient, accession_number: str) -> dict[str, str]:
    """What the record says now, by DICOM keyword; empty where it says nothing."""
    identifier = primary_identifier(patient)
    return {
        "PatientName": patient.name,
        "PatientID": identifier.value if identifier else "",
        "IssuerOfPatientID": (identifier.issuer.namespace or "") if identifier else "",
        "PatientBirthDate": f"{patient.birth_date:%Y%m%d}" if patient.birth_date else "",
        "PatientSex": patient.sex,
        "AccessionNumber": accession_number,
    }


def differences(claim: IdentityClaim, patient: Patient, order: ImagingServiceRequest) -> dict[str, tuple[str, str]]:
    """{keyword: (received, current)} where the record says something else. Missing values are filled."""
    found = {}
    for keyword, new in current_values(patient, order.accession_number).items():
        old = getattr(claim, RECEIVED[keyword])
        # Trailing empty components of a name say nothing (PS3.5 6.2.1).
        if new and old.rstrip("^") != new.rstrip("^"):
            found[keyword] = (old, new)
    if _is_of_another(claim.accession_number, order):
        found["AccessionNumber"] = (claim.accession_number, order.accession_number)
    return found | _issuer(claim, patient, id_differs="PatientID" in found)


def _is_of_another(accession_number: str, order: ImagingServiceRequest) -> bool:
    """Whether it numbers another order: under it these images would be filed there, though this one has none."""
    if not accession_number or accession_number == order.accession_number:
        return False
    return ImagingServiceRequest.objects.filter(accession_number=accession_number).exclude(pk=order.pk).exists()


def _issuer(claim: IdentityClaim, patient: Patient, *, id_differs: bool) -> dict[str, tuple[str, str]]:
    """Where the ID is the record's and was not, or was said to be another issuer's: what its issuer is called.

    Empty where the issuer has no such name: no name of another one stays.
    """
    identifier = primary_identifier(patient)
    if identifier is None:
        return {}
    issuer = identifier.issuer
    names = ((claim.issuer, issuer.namespace or ""), (claim.issuer_universal_id, issuer.universal_id or ""))
    another = any(old for old, _ in names) and not any(old and old == new for old, new in names)
    if not (id_differs or another):
        return {}
    found = {keyword: name for keyword, name in zip(ISSUER, names, strict=False) if name[0] != name[1]}
    if found.get("UniversalEntityID", ("", ""))[1]:
        found["UniversalEntityIDType"] = ("", issuer.universal_id_type or "ISO")
    return found


@transaction.atomic
def recompute(claim: IdentityClaim, *, decision: Decision | None = None, keep: frozenset[str] = frozenset()) -> bool:
    """Bring a claim's corrections up to date; whether they changed. `keep`: keywords whose received value stands."""
    wanted: dict[str, tuple[str, str]] = {}
    if claim.identity == Identity.MATCHED and claim.matched_patient and claim.order:
        wanted = differences(claim, claim.matched_patient, claim.order)
    if "PatientID" in wanted and "PatientID" not in keep:
        keep = keep.difference(ISSUER)
    for keyword in keep:
        wanted.pop(keyword, None)
    before = {each.attribute: (each.old, each.new) for each in claim.corrections.all()}
    if before == wanted:
        return False
    claim.corrections.all().delete()
    for keyword, (old, new) in wanted.items():
        # One by one, at most eight: a bulk insert is not seen by the history.
        Correction.objects.create(
            claim=claim, attribute=keyword, old=old, new=new, why="as the order says", decision=decision
        )
    record("claim.corrected", claim, detail={"attributes": sorted(wanted)})
    return True
