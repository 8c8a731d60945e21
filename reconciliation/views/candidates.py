"""The ranked candidates of a case, as its page draws them, and what a match to one of them would do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Prefetch

from orchestrator.models import ExceptionCase, IdentityClaim, ImagingServiceRequest, PatientIdentifier
from orchestrator.permissions import Viewer, visible_to
from orchestrator.templatetags.moments import iso_date
from reconciliation import selectors
from reconciliation.matching import match
from reconciliation.models import MatchRun
from reconciliation.services import decisions
from reconciliation.services.reconcile import described

# The attributes that a correction may touch: name for people, tag.
ATTRIBUTES: Mapping[str, tuple[str, str]] = {
    "PatientName": ("Name", "0010,0010"),
    "PatientID": ("Patient ID", "0010,0020"),
    "IssuerOfPatientID": ("Issuer", "0010,0021"),
    "PatientBirthDate": ("Birth date", "0010,0030"),
    "PatientSex": ("Sex", "0010,0040"),
    "AccessionNumber": ("Accession", "0008,0050"),
}
_SATISFIED = "Has its images already, or was canceled"


def ranked(viewer: Viewer, case: ExceptionCase) -> list[dict[str, Any]]:
    """The orders that the held images could belong to and the viewer may see, the best first."""
    if case.claim is None:
        return []
    best: dict[int, Mapping[str, Any]] = {}
    for entry in _compared(case.claim):
        best.setdefault(entry["order"], entry)
    everywhere = visible_to(ImagingServiceRequest.objects.all(), viewer, "exceptions.view")
    orders = everywhere.select_related("patient", "site").prefetch_related(
        "requested_procedures__steps",
        Prefetch("patient__identifiers", PatientIdentifier.objects.select_related("issuer").order_by("-primary", "pk")),
    )
    rows = orders.in_bulk(best)
    return [_candidate(rows[key], entry) for key, entry in best.items() if key in rows]


def _compared(claim: IdentityClaim) -> Iterable[Mapping[str, Any]]:
    """What the last comparison found; a claim that was never compared is compared now, without a trace."""
    run = MatchRun.objects.filter(claim=claim).order_by("-at", "-pk").first()
    if run is not None:
        return list(run.candidates)
    steps = {step.pk: step for step in selectors.steps_for(claim)}
    candidates = [selectors.candidate_of(step, for_study=claim.study_id) for step in steps.values()]
    return described(match(selectors.claim_of(claim), candidates), steps)


def _candidate(order: ImagingServiceRequest, entry: Mapping[str, Any]) -> dict[str, Any]:
    step = next(
        (step for each in order.requested_procedures.all() for step in each.steps.all() if step.pk == entry["step"]),
        None,
    )
    identifiers = list(order.patient.identifiers.all())
    satisfied = any(row["field"] == "satisfied" and row["verdict"] == "differ" for row in entry["evidence"])
    words = [step.modality, step.description, iso_date(step.start_date), *step.station_ae_titles] if step else []
    return {
        "order_id": order.pk,
        "score": entry["score"],
        "name": order.patient.name,
        "line": " ".join(filter(None, words)),
        "accession_number": order.accession_number,
        "patient_id": f"{identifiers[0].value} ({identifiers[0].issuer})" if identifiers else "",
        "warning": _SATISFIED if satisfied else "",
        "evidence": [row for row in entry["evidence"] if row["field"] != "satisfied"],
        "caption": f"Evidence for order {order.accession_number or order.pk}",
        "sentence": "Everything needed agrees." if entry["qualifies"] else "Not enough agrees, or something differs.",
        "chosen": False,
    }


def chosen(candidates: Sequence[dict[str, Any]], order: str) -> dict[str, Any] | None:
    """The candidate that `order` names, else the best; it is marked as chosen."""
    named = [candidate for candidate in candidates if str(candidate["order_id"]) == order]
    found = next(iter(named or candidates), None)
    if found is not None:
        found["chosen"] = True
    return found


def changes(case: ExceptionCase, order: ImagingServiceRequest) -> list[dict[str, str]]:
    """The attributes that a match to the order would change in what leaves."""
    found = []
    for change in decisions.preview(case=case, order=order):
        label, tag = ATTRIBUTES.get(change.attribute, (change.attribute, ""))
        found.append(
            {"attribute": change.attribute, "label": label, "tag": tag, "before": change.before, "after": change.after}
        )
    return found


FOLLOWS: Sequence[dict[str, str]] = (
    {"icon": "link", "text": "The images belong to this order and its patient from now on."},
    {"icon": "send", "text": "They leave by the published rules, with these values; the files here stay as received."},
    {"icon": "undo", "text": "It can be taken back: what was not sent yet will then not be sent."},
)


def preview(case: ExceptionCase, candidate: Mapping[str, Any]) -> dict[str, Any]:
    """What a match to the candidate would change, and what follows."""
    order = ImagingServiceRequest.objects.select_related("patient").get(pk=candidate["order_id"])
    return {"changes": changes(case, order), "follows": FOLLOWS}
