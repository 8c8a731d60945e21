"""Matching received studies to orders, claim by claim; what does not match is held (promise 7)."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Q

from orchestrator.models import (
    SYSTEM,
    Decision,
    ExceptionCase,
    IdentityClaim,
    ImagingServiceRequest,
    ScheduledProcedureStep,
    Study,
    WorkflowEvent,
    WrongEntry,
    acting,
)
from orchestrator.services import corrections
from orchestrator.services.exceptions import open_case, resolve
from orchestrator.services.orders import advance_step
from orchestrator.services.studies import refresh_identity
from orchestrator.services.workflow import record, transition
from orchestrator.states import CASE_OPEN, STEP_ON_WORKLIST, CaseStatus, Identity, MatchedBy, Purpose, StepStatus
from reconciliation import selectors
from reconciliation.matching import SENTENCES, Outcome, Scored, match
from reconciliation.models import MatchRun

NEEDS_ORDER = (Purpose.ACQUIRED, Purpose.IMPORTED)
_KINDS = {
    "TWO_ORDERS_FIT": "ambiguous_match",
    "PATIENT_ID_CONFLICT": "patient_conflict",
    "BIRTH_DATE_DIFFERS": "patient_conflict",
    "NAME_DIFFERS": "patient_conflict",
    "SEX_DIFFERS": "patient_conflict",
    "TWO_PATIENTS": "study_uid_conflict",
    "WRONG_WORKLIST_ENTRY": "wrong_worklist_entry",
}
# In the detail of the event by which a match, and no modality, completed a step.
_BY_MATCH = "matched_claim"
HELD_KINDS = frozenset({"unmatched_study", *_KINDS.values()})


@transaction.atomic
def reconcile_study(study_id: int) -> None:
    """Match each claim of a study that is not settled. Subscriber of study.received; may run twice."""
    study = Study.objects.select_for_update().get(pk=study_id)
    with acting(SYSTEM):
        for claim in study.claims.filter(purpose__in=NEEDS_ORDER).order_by("pk"):
            if claim.identity in (Identity.PENDING, Identity.HELD):
                reconcile_claim(claim)
        refresh_identity(study_id=study.pk)
        record("study.reconciled", study)


def reconcile_claim(claim: IdentityClaim) -> None:
    """Match one claim that is not settled, or hold it."""
    outcome = compare(claim)
    if WrongEntry.objects.filter(study_instance_uid=claim.study.study_instance_uid).exists():
        hold(claim, outcome, "WRONG_WORKLIST_ENTRY")
        return
    case = open_case_of(claim)
    if case is not None and case.status == CaseStatus.CLAIMED:
        # A person is at it: the new comparison is shown to them, and settles nothing.
        record("case.candidates_changed", case, detail={"reason_code": outcome.reason_code})
        return
    remembered = _remembered(claim)
    if remembered is not None:
        apply_match(
            claim,
            remembered.claim.step,
            matched_by=MatchedBy.PERSON,
            evidence=remembered.evidence,
            decision=remembered,
        )
    elif outcome.match is not None and not _contradicts(claim, outcome.match):
        step = ScheduledProcedureStep.objects.select_related("procedure__order").get(pk=outcome.match.candidate.key)
        apply_match(claim, step, matched_by=MatchedBy.AUTO, evidence=evidence_of(outcome.match))
    else:
        hold(claim, outcome, "TWO_PATIENTS" if outcome.match else outcome.reason_code)
        return
    if case is not None:
        resolve(case, resolution="matched")


def compare(claim: IdentityClaim) -> Outcome:
    """Compare a claim with the steps it could belong to, and keep what was found."""
    steps = {step.pk: step for step in selectors.steps_for(claim)}
    candidates = [selectors.candidate_of(step, for_study=claim.study_id) for step in steps.values()]
    outcome = match(selectors.claim_of(claim), candidates)
    MatchRun.objects.create(claim=claim, reason_code=outcome.reason_code, candidates=described(outcome, steps))
    return outcome


def described(outcome: Outcome, steps: Mapping[int, ScheduledProcedureStep]) -> list[dict[str, Any]]:
    """The best candidates as MatchRun keeps them."""
    return [
        {
            "step": each.candidate.key,
            "order": steps[each.candidate.key].procedure.order_id,
            "patient": steps[each.candidate.key].procedure.order.patient_id,
            "accession_number": each.candidate.accession_number,
            "score": each.score,
            "qualifies": each.qualifies,
            "evidence": evidence_of(each),
        }
        for each in outcome.ranked[:10]
    ]


def evidence_of(scored: Scored) -> list[dict[str, Any]]:
    return [
        {
            "field": each.field,
            "verdict": each.verdict.value,
            "received": each.received,
            "expected": each.expected,
            "points": each.points,
            "possible": each.possible,
        }
        for each in scored.evidence
    ]


def open_case_of(claim: IdentityClaim) -> ExceptionCase | None:
    return ExceptionCase.objects.filter(claim=claim, kind__in=HELD_KINDS, status__in=CASE_OPEN).first()


def _contradicts(claim: IdentityClaim, scored: Scored) -> bool:
    """Whether another claim of the study is matched to another patient: then neither may be believed."""
    step = ScheduledProcedureStep.objects.select_related("procedure__order").get(pk=scored.candidate.key)
    others = claim.study.claims.filter(identity=Identity.MATCHED).exclude(pk=claim.pk)
    return others.exclude(matched_patient_id=step.procedure.order.patient_id).exists()


def decision_of(claim: IdentityClaim) -> Decision | None:
    """The decision in force that a claim stands on: its own, or one about an equal claim that was remembered."""
    return claim.decisions.filter(undone_at=None).first() or _remembered(claim)


def _remembered(claim: IdentityClaim) -> Decision | None:
    """A person's match of an equal claim (but for the calling AE) of this study."""
    same = {
        name: getattr(claim, name)
        for name in (
            "patient_id", "issuer", "issuer_universal_id", "patient_name", "birth_date", "sex", "accession_number",
        )
    }  # fmt: skip
    return (
        Decision.objects.filter(
            claim__in=IdentityClaim.objects.filter(study=claim.study, **same).exclude(pk=claim.pk),
            kind=Decision.Kind.MATCH,
            remember=True,
            undone_at=None,
        )
        .select_related("claim__step__procedure__order")
        .first()
    )


def apply_match(
    claim: IdentityClaim,
    step: ScheduledProcedureStep | None,
    *,
    matched_by: MatchedBy,
    evidence: list[dict[str, Any]],
    reason: str = "",
    decision: Decision | None = None,
) -> None:
    """The claim belongs to this step's order and patient from now on; `decision` says which received values stand."""
    if step is None:
        raise ValueError("a match needs a step")
    order = step.procedure.order
    transition(
        claim, "claim.matched", reason=reason, detail={"matched_by": matched_by}, matched_by=matched_by,
        matched_patient_id=order.patient_id, order_id=order.pk, procedure_id=step.procedure_id, step_id=step.pk,
        evidence=evidence,
    )  # fmt: skip
    claim.refresh_from_db()
    keep = frozenset(decision.parameters.get("keep", ())) if decision else frozenset[str]()
    corrections.recompute(claim, decision=decision, keep=keep)
    if step.status in STEP_ON_WORKLIST:
        # The modality told nothing (no MPPS): its images say that the step was performed.
        advance_step(
            step=step, event="step.completed", reason="images received and matched", detail={_BY_MATCH: claim.pk}
        )


def hold(claim: IdentityClaim, outcome: Outcome, reason_code: str) -> None:
    """Into the exceptions queue, with the best candidate."""
    if claim.identity != Identity.HELD:
        transition(claim, "claim.held", detail={"reason_code": reason_code})
    best = outcome.ranked[0] if outcome.ranked and outcome.ranked[0].score >= 20 else None
    raise_case(claim, reason_code, best)


def raise_case(claim: IdentityClaim, reason_code: str, best: Scored | None) -> ExceptionCase:
    """The claim's one open case, brought up to date; its kind stays what it was opened as."""
    known = open_case_of(claim)
    kind = known.kind if known else _KINDS.get(reason_code, "unmatched_study")
    return open_case(
        kind,
        about=claim,
        reason_code=reason_code,
        summary=SENTENCES[reason_code],
        site=claim.study.site,
        study=claim.study,
        claim=claim,
        modality=claim.modality,
        source=claim.calling_ae_title,
        best_candidate=best.candidate.accession_number if best else "",
        best_score=best.score if best else None,
    )


@transaction.atomic
def hold_disowned(study_id: int) -> None:
    """The modality used another patient's worklist entry: what was matched by itself is held. A person's word stands.

    Subscriber of study.disowned; may run twice.
    """
    study = Study.objects.select_for_update().get(pk=study_id)
    with acting(SYSTEM):
        for claim in study.claims.filter(identity=Identity.MATCHED, matched_by=MatchedBy.AUTO).order_by("pk"):
            unmatch(claim, reason="the modality used another patient's worklist entry")
            hold(claim, compare(claim), "WRONG_WORKLIST_ENTRY")
        refresh_identity(study_id=study.pk)


def unmatch(claim: IdentityClaim, *, reason: str, **columns: Any) -> None:
    """Held again, as if it had never been matched; what was not sent yet will not be sent."""
    before = {"matched_by": "", "matched_patient_id": None, "order_id": None, "procedure_id": None, "step_id": None}
    step = claim.step
    transition(claim, "claim.held", reason=reason, **{**before, "evidence": [], **columns})
    claim.corrections.all().delete()
    if step is not None:
        _give_back(step, reason)
    record("claim.unmatched", claim, reason=reason)


def _give_back(step: ScheduledProcedureStep, reason: str) -> None:
    """Onto the worklist again, where nothing but the match had taken it off: its exam is still to be done."""
    if step.claims.filter(identity=Identity.MATCHED).exists():
        return
    moves = WorkflowEvent.objects.filter(subject_type=step._meta.model_name, subject_id=step.pk).exclude(to_state="")
    last = moves.order_by("-at", "-pk").first()
    if step.status == StepStatus.COMPLETED and last is not None and _BY_MATCH in last.detail:
        advance_step(step=step, event="step.returned", reason=reason)


def rematch_for_order(order_id: int) -> None:
    """An order came or changed: look again at the waiting claims that it could satisfy."""
    order = ImagingServiceRequest.objects.select_related("patient").get(pk=order_id)
    ids = list(order.patient.identifiers.values_list("value", flat=True))
    uids = list(order.requested_procedures.values_list("study_instance_uid", flat=True))
    shared = Q(study__study_instance_uid__in=uids) | Q(patient_id__in=ids)
    if order.accession_number:
        shared |= Q(accession_number=order.accession_number)
    if order.patient.birth_date:
        shared |= Q(birth_date=f"{order.patient.birth_date:%Y%m%d}")
    waiting = IdentityClaim.objects.filter(shared, identity=Identity.HELD, purpose__in=NEEDS_ORDER)
    for study_id in waiting.order_by().values_list("study_id", flat=True).distinct()[:100]:
        reconcile_study(study_id)
