"""What a person decides about a held claim, and how it is taken back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from orchestrator.models import Decision, ExceptionCase, IdentityClaim, ImagingServiceRequest, Study, User
from orchestrator.services import corrections
from orchestrator.services.exceptions import due_at, lock_open, resolve
from orchestrator.services.studies import refresh_identity
from orchestrator.services.workflow import record, transition
from orchestrator.states import Identity, MatchedBy
from reconciliation import selectors
from reconciliation.models import MatchRun
from reconciliation.services.reconcile import (
    HELD_KINDS,
    apply_match,
    evidence_of,
    hold_doubtful,
    lock_orders,
    reconcile_claims,
    unmatch,
)

REJECT_CODES: Mapping[str, str] = {
    "113001": "Rejected for quality reasons",
    "113037": "Rejected for patient safety reasons",
    "113038": "Incorrect modality worklist entry",
    "TEST": "Test images, not of a patient",
}
# Evidence names the fields of the claim, a data set its DICOM keywords: either may say which value is meant.
_KEYWORDS = {column: keyword for keyword, column in corrections.RECEIVED.items()}
_BEFORE = ("identity", "matched_by", "matched_patient_id", "order_id", "procedure_id", "step_id", "evidence")


class AlreadyDecided(Exception):
    """Somebody else decided this claim meanwhile."""


class CannotDecide(Exception):
    """What was asked cannot be done with this case; the text says why."""


@dataclass(frozen=True)
class Change:
    """One attribute of the images as it would leave."""

    attribute: str
    before: str
    after: str


def preview(*, case: ExceptionCase, order: ImagingServiceRequest) -> list[Change]:
    """Which attributes a match to this order would change in what leaves."""
    claim = _claim_of(case)
    found = corrections.differences(claim, order.patient, order)
    return [Change(attribute, old, new) for attribute, (old, new) in found.items()]


@transaction.atomic
def match(
    *,
    case_id: int,
    order_id: int,
    user: User,
    reason: str,
    remember: bool = True,
    sides: Mapping[str, str] | None = None,
) -> Decision:
    """These images belong to this order.

    `sides`: {field as in evidence, or DICOM keyword: "study"} where the received value stands. Raises
    CaseClosed, CaseTaken, AlreadyDecided, CannotDecide.
    """
    lock_study_of(case_id)
    case = lock_open(case_id, user=user)
    claim = _claim_of(case)
    lock_orders(claim.study, order_id)
    order = ImagingServiceRequest.objects.select_related("patient").get(pk=order_id)
    found = selectors.best_step(claim, order)
    if found is None:
        raise CannotDecide("This order has no scheduled step.")
    step, evidence = found[0], evidence_of(found[1])
    # Kept with the decision: later images of the study that say the same leave the same way.
    parameters = {"order": order.pk, "keep": sorted(_kept(sides or {}, claim, order))}
    decision = _decide(case, claim, Decision.Kind.MATCH, user, reason, parameters, evidence, remember)
    apply_match(claim, step, matched_by=MatchedBy.PERSON, evidence=evidence, reason=reason, decision=decision)
    hold_doubtful(claim.study, order.patient_id)
    _settle(case, claim, "matched", reason)
    return decision


@transaction.atomic
def reject(*, case_id: int, code: str, user: User, reason: str) -> Decision:
    """These images belong nowhere: they stay here and go nowhere. Raises as `match`."""
    if code not in REJECT_CODES:
        raise CannotDecide(f"{code} is no reason to reject.")
    lock_study_of(case_id)
    case = lock_open(case_id, user=user)
    claim = _claim_of(case)
    decision = _decide(case, claim, Decision.Kind.REJECT, user, reason, {"code": code}, [], False)
    transition(claim, "claim.rejected", reason=reason, detail={"code": code})
    _settle(case, claim, "rejected", reason)
    return decision


@transaction.atomic
def undo(*, case_id: int, user: User, reason: str, decision_id: int | None = None) -> ExceptionCase:
    """Take the decision of a case back: the claim is held again, what was not sent yet will not be sent.

    `decision_id`: only that one, and no other that is in force meanwhile.
    """
    lock_study_of(case_id)
    case = ExceptionCase.objects.select_for_update(of=("self",), no_key=True).get(pk=case_id)
    decision = case.decisions.select_for_update(of=("self",), no_key=True).filter(undone_at=None).first()
    if decision is None:
        raise CannotDecide("There is no decision in force that could be taken back.")
    if decision_id not in (None, decision.pk):
        raise CannotDecide(f"That decision was taken back already; another, of {decision.by}, is in force.")
    claim = decision.claim
    lock_orders(claim.study)
    followed = _followers(decision)
    decision.undone_at, decision.undone_by, decision.undo_reason = timezone.now(), user, reason
    decision.save(update_fields=["undone_at", "undone_by", "undo_reason"])
    before = {name: decision.before[name] for name in _BEFORE if name != "identity"}
    unmatch(claim, reason=reason, detail={"undone": decision.pk}, **before)
    transition(
        case, "case.reopened", reason=reason, resolved_at=None, resolution="", owner=None, due_at=due_at(case.kind)
    )  # fmt: skip
    for each in followed:
        unmatch(each, reason=reason, detail={"undone": decision.pk})
        reconcile_claims([each])
    refresh_identity(study_id=claim.study_id)
    record("decision.undone", claim, detail={"decision": decision.pk}, reason=reason)
    return case


def _kept(sides: Mapping[str, str], claim: IdentityClaim, order: ImagingServiceRequest) -> set[str]:
    """The keywords whose received value stands. An issuer leaves with its ID (corrections.ISSUER)."""
    sides = {_KEYWORDS.get(name, name): side for name, side in sides.items()}
    unknown = sides.keys() - {*corrections.RECEIVED, *corrections.ISSUER}
    if unknown:
        raise CannotDecide(f"A match corrects no {', '.join(sorted(unknown))}.")
    kept = {keyword for keyword, side in sides.items() if side == "study"}
    found = corrections.differences(claim, order.patient, order)
    first = next((keyword for keyword in ("PatientID", *corrections.ISSUER) if keyword in found), "")
    together = {*corrections.ISSUER} if first else set[str]()
    return kept | together if first in kept else kept - together


def _followers(decision: Decision) -> list[IdentityClaim]:
    """Claims of the study that were matched because this decision was remembered."""
    claim = decision.claim
    matched = claim.study.claims.filter(
        identity=Identity.MATCHED,
        matched_by=MatchedBy.PERSON,
        step=claim.step_id,
        order=decision.parameters.get("order"),
    )
    own = Decision.objects.filter(undone_at=None).values("claim")
    return list(matched.exclude(pk__in=own)) if decision.remember else []


def lock_study_of(case_id: int) -> None:
    """The study of a case before the case, as reconcile_study does: a person and a worker never deadlock."""
    Study.objects.select_for_update(of=("self",), no_key=True).filter(cases=case_id).first()


def _claim_of(case: ExceptionCase) -> IdentityClaim:
    if case.claim_id is None or case.kind not in HELD_KINDS:
        raise CannotDecide("This case is not about held images.")
    return IdentityClaim.objects.select_related("study__site").get(pk=case.claim_id)


def _decide(
    case: ExceptionCase,
    claim: IdentityClaim,
    kind: Decision.Kind,
    user: User,
    reason: str,
    parameters: dict[str, Any],
    evidence: list[dict[str, Any]],
    remember: bool,
) -> Decision:
    if claim.identity != Identity.HELD:
        raise AlreadyDecided("This claim is no longer held.")
    before = {name: getattr(claim, name) for name in _BEFORE}
    # The whole comparison that lay before the person: every candidate with its evidence.
    run = MatchRun.objects.filter(claim=claim).order_by("-at", "-pk").values_list("pk", flat=True).first()
    try:
        with transaction.atomic():
            return Decision.objects.create(
                claim=claim, case=case, kind=kind, parameters={**parameters, "match_run": run}, evidence=evidence,
                before=before, remember=remember, reason=reason, by=user,
            )  # fmt: skip
    except IntegrityError as error:
        raise AlreadyDecided("Somebody else decided this claim meanwhile.") from error


def _settle(case: ExceptionCase, claim: IdentityClaim, resolution: str, reason: str) -> None:
    resolve(case, resolution=resolution, reason=reason)
    refresh_identity(study_id=claim.study_id)
    record("study.reconciled", claim.study)
