"""The ranked candidates of a case, as its page draws them, and what a match to one of them would do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from orchestrator.models import (
    Correction,
    ExceptionCase,
    IdentityClaim,
    ImagingServiceRequest,
    RequestedProcedure,
    ScheduledProcedureStep,
)
from orchestrator.permissions import Viewer
from orchestrator.states import STEP_ON_WORKLIST, OrderStatus, StepStatus
from orchestrator.templatetags.components import FIELDS
from orchestrator.templatetags.formats import person
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
    "UniversalEntityID": ("Issuer, universal ID", "0040,0032"),
    "UniversalEntityIDType": ("Its type", "0040,0033"),
    "PatientBirthDate": ("Birth date", "0010,0030"),
    "PatientSex": ("Sex", "0010,0040"),
    "AccessionNumber": ("Accession", "0008,0050"),
}
_OWN_UID = "The modality made its own: says nothing against the order."


def ranked(viewer: Viewer, case: ExceptionCase) -> list[dict[str, Any]]:
    """The orders that the held images could belong to and the viewer may see, the best first."""
    if case.claim is None:
        return []
    best: dict[int, Mapping[str, Any]] = {}
    for entry in _compared(case.claim):
        best.setdefault(entry["order"], entry)
    orders = selectors.candidate_orders(viewer, best)
    return [_candidate(orders[key], entry) for key, entry in best.items() if key in orders]


def _compared(claim: IdentityClaim) -> Iterable[Mapping[str, Any]]:
    """What the last comparison found; a claim that was never compared is compared now, without a trace."""
    run = MatchRun.objects.filter(claim=claim).order_by("-at", "-pk").first()
    if run is not None:
        return list(run.candidates)
    steps = {step.pk: step for step in selectors.steps_for(claim)}
    candidates = [selectors.candidate_of(step, for_study=claim.study_id) for step in steps.values()]
    return described(match(selectors.claim_of(claim), candidates), steps)


def _candidate(order: ImagingServiceRequest, entry: Mapping[str, Any]) -> dict[str, Any]:
    steps = (step for procedure in order.requested_procedures.all() for step in procedure.steps.all())
    step = next((step for step in steps if step.pk == entry["step"]), None)
    identifiers = list(order.patient.identifiers.all())
    return {
        "order": order,
        "order_id": order.pk,
        "score": entry["score"],
        "name": order.patient.name,
        "line": _line(step),
        "accession_number": order.accession_number,
        "patient_id": f"{identifiers[0].value} ({identifiers[0].issuer})" if identifiers else "",
        "warning": _warning(order, step, entry["evidence"]),
        "evidence": told(entry["evidence"]),
        "caption": f"Evidence for order {order.accession_number or order.pk}",
        "sentence": _sentence(entry),
        "chosen": False,
    }


def _line(step: ScheduledProcedureStep | None) -> str:
    """What was to be done, when and where."""
    if step is None:
        return "its step is no longer there"
    at = f"{iso_date(step.start_date)} {step.start_time:%H:%M}" if step.start_time else iso_date(step.start_date)
    what = step.description or step.procedure.description
    return ", ".join(filter(None, (what, step.modality, at, *step.station_ae_titles)))


def _warning(
    order: ImagingServiceRequest, step: ScheduledProcedureStep | None, evidence: Iterable[Mapping[str, Any]]
) -> str:
    """What speaks against the order whatever its patient: it is over, or has its images."""
    if order.status in (OrderStatus.CANCELED, OrderStatus.DISCONTINUED, OrderStatus.REPLACED):
        return f"The order is {order.get_status_display().lower()}"
    if step is not None and step.status in (StepStatus.CANCELED, StepStatus.DISCONTINUED):
        return f"Its step is {step.get_status_display().lower()}"
    taken = any(row["field"] == "satisfied" and row["verdict"] == "differ" for row in evidence)
    return "Another study was matched to it already" if taken else ""


def told(evidence: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Evidence as it is drawn: what could not be compared has no points; whether the order is taken is a warning."""
    rows = []
    for row in evidence:
        if row["field"] == "satisfied":
            continue
        shown = dict(row)
        if row["verdict"] == "missing":
            shown["points"] = None
        if row["field"] == "patient_name":
            shown |= {side: row[side].rstrip("^") for side in ("received", "expected")}
        if row["field"] == "study_instance_uid" and row["verdict"] == "missing" and row["received"]:
            shown["note"] = _OWN_UID
        rows.append(shown)
    return rows


def _sentence(entry: Mapping[str, Any]) -> str:
    """Why this one was not matched by itself."""
    if entry["qualifies"]:
        return "All that an automatic match needs agrees."
    against = [
        FIELDS[row["field"]][1]
        for row in entry["evidence"]
        if row["verdict"] in ("differ", "close") and row["field"] in FIELDS
    ]
    if against:
        return f"No automatic match: {', '.join(against)} not the same."
    return "No automatic match: nothing differs, but too little could be compared."


def chosen(candidates: Sequence[dict[str, Any]], order: str) -> dict[str, Any] | None:
    """The candidate that `order` names, else the best; it is marked as chosen."""
    named = [candidate for candidate in candidates if str(candidate["order_id"]) == order]
    found = next(iter(named or candidates), None)
    if found is not None:
        found["chosen"] = True
    return found


def changes(case: ExceptionCase, order: ImagingServiceRequest) -> list[dict[str, str]]:
    """The attributes that a match to the order would change in what leaves."""
    return [
        _change(change.attribute, change.before, change.after) for change in decisions.preview(case=case, order=order)
    ]


def _place(correction: Correction) -> int:
    """Where it stands: as in ATTRIBUTES, others last."""
    return [*ATTRIBUTES, correction.attribute].index(correction.attribute)


def _change(attribute: str, before: str, after: str) -> dict[str, str]:
    label, tag = ATTRIBUTES.get(attribute, (attribute, ""))
    if attribute == "PatientName":
        # Trailing empty components of a name say nothing (PS3.5 6.2.1).
        before, after = before.rstrip("^"), after.rstrip("^")
    return {"attribute": attribute, "label": label, "tag": tag, "before": before, "after": after}


def follows(viewer: Viewer, case: ExceptionCase, order: ImagingServiceRequest) -> list[dict[str, str]]:
    """What happens next, in sentences: to the identity, to the worklist, and where the images go."""
    claim = case.claim
    found = selectors.best_step(claim, order) if claim else None
    if claim is None or found is None:
        return []
    number, step = claim.number_of_instances, found[0]
    images = f"{number} object{'' if number == 1 else 's'}"
    identity = f"Identity becomes matched: {images} to {person(order.patient.name)}, {_named(order)}."
    return [
        {"icon": "link", "text": identity},
        *consequences(viewer, claim, step.procedure),
        *([{"icon": "done", "text": _DONE}] if step.status in STEP_ON_WORKLIST else []),
        {"icon": "undo", "text": "It can be taken back: what was not sent yet will then not be sent."},
    ]


_DONE = "The scheduled step is done and leaves the worklist."


def consequences(
    viewer: Viewer, claim: IdentityClaim, procedure: RequestedProcedure | None
) -> Iterator[dict[str, str]]:
    """What follows in the other apps (settings.CONSEQUENCES)."""
    for name in settings.CONSEQUENCES:
        yield from import_string(name)(viewer, claim, procedure)


def _named(order: ImagingServiceRequest) -> str:
    return f"order {order.accession_number}" if order.accession_number else "an order without accession number"


def preview(viewer: Viewer, case: ExceptionCase, candidate: Mapping[str, Any]) -> dict[str, Any]:
    """What a match to the candidate would change, and what follows."""
    order: ImagingServiceRequest = candidate["order"]
    return {"changes": changes(case, order), "follows": follows(viewer, case, order)}


def settled(viewer: Viewer, case: ExceptionCase) -> dict[str, Any] | None:
    """What the images of a closed case belong to now: the order (if the viewer may see it), why, and what changes."""
    claim = case.claim
    if claim is None or claim.order_id is None:
        return None
    return {
        "order": selectors.candidate_orders(viewer, [claim.order_id]).get(claim.order_id),
        "evidence": told(claim.evidence),
        "changes": [
            _change(each.attribute, each.old, each.new) for each in sorted(claim.corrections.all(), key=_place)
        ],
    }
