"""Matching received studies to orders, claim by claim; what does not match is held (promise 7)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db import transaction

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
from orchestrator.services.studies import lock_study, refresh_identity
from orchestrator.services.workflow import record, transition
from orchestrator.states import ACQUISITIONS, CASE_OPEN, STEP_ON_WORKLIST, CaseStatus, Identity, MatchedBy, StepStatus
from reconciliation import selectors
from reconciliation.matching import SENTENCES, Outcome, Scored, match, stands
from reconciliation.models import MatchRun

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
    """Match each claim of a study that is not settled, and look again at what was matched by itself.

    Subscriber of study.received; may run twice.
    """
    study = lock_study(study_id)
    lock_orders(study)
    with acting(SYSTEM):
        claims = list(study.claims.filter(purpose__in=ACQUISITIONS, number_of_instances__gt=0).order_by("pk"))
        for claim in claims:
            if _is_automatic(claim) and not _stands(claim):
                unmatch(claim, reason="the order has changed: it is no longer the one that these images name")
        reconcile_claims([claim for claim in claims if claim.identity in (Identity.PENDING, Identity.HELD)])
        refresh_identity(study_id=study.pk)
        record("study.reconciled", study)


def _is_automatic(claim: IdentityClaim) -> bool:
    return claim.identity == Identity.MATCHED and claim.matched_by == MatchedBy.AUTO


def _stands(claim: IdentityClaim) -> bool:
    found = selectors.matched_step(claim)
    return found is not None and stands(found)


def reconcile_claims(claims: Sequence[IdentityClaim]) -> None:
    """Match these claims of one study, or hold them. Study and orders are locked."""
    compared = [(claim, outcome, _step_of(outcome)) for claim in claims for outcome in [compare(claim)]]
    said = {step.procedure.order.patient_id for _, _, step in compared if step is not None}
    doubtful = _doubtful(claims[0].study, said) if said else set[int]()
    for claim, outcome, step in compared:
        _settle(claim, outcome, step, doubtful)
    if doubtful:
        _take_back(claims[0].study, doubtful)


def hold_doubtful(study: Study, said: int) -> None:
    """Images of the study belong to this patient: what was matched to another one by itself is held."""
    _take_back(study, _doubtful(study, {said}))


def _take_back(study: Study, patients: Collection[int]) -> None:
    for claim in IdentityClaim.objects.filter(study=study, matched_patient__in=patients).order_by("pk"):
        if _is_automatic(claim):
            unmatch(claim, reason="other images of this study are matched to another patient")
            hold(claim, compare(claim), "TWO_PATIENTS")


def lock_orders(study: Study, *more: int) -> None:
    """All orders that claims of the study name or are matched to, and these.

    Whoever else would match one of them at this moment, to another study, waits and then looks again.
    """
    claims = list(study.claims.all())
    steps = {key for claim in claims for key in selectors.steps_named(claim)}
    named = ImagingServiceRequest.objects.filter(requested_procedures__steps__in=steps).values_list("pk", flat=True)
    orders = {*named, *(claim.order_id for claim in claims if claim.order_id), *more}
    locked = ImagingServiceRequest.objects.select_for_update(of=("self",), no_key=True)
    list(locked.filter(pk__in=orders).order_by("pk"))


def _step_of(outcome: Outcome) -> ScheduledProcedureStep | None:
    """The step that the claim speaks for, whether it is matched to it or not."""
    if outcome.speaks_for is None:
        return None
    return ScheduledProcedureStep.objects.select_related("procedure__order").get(pk=outcome.speaks_for.candidate.key)


def _doubtful(study: Study, said: Collection[int]) -> set[int]:
    """The patients that may not be believed: a study has one only, and its claims speak for several.

    Whom a person has chosen is believed.
    """
    chosen, fitting = set[int](), set(said)
    for claim in study.claims.filter(identity=Identity.MATCHED):
        if claim.matched_patient_id is not None:
            (fitting if _is_automatic(claim) else chosen).add(claim.matched_patient_id)
    return set() if len(chosen | fitting) < 2 else fitting - chosen


def _settle(
    claim: IdentityClaim, outcome: Outcome, step: ScheduledProcedureStep | None, doubtful: Collection[int]
) -> None:
    """Match or hold one claim that was compared."""
    if WrongEntry.objects.filter(study_instance_uid=claim.study.study_instance_uid).exists():
        hold(claim, outcome, "WRONG_WORKLIST_ENTRY")
        return
    case = open_case_of(claim)
    if case is not None and case.status in (CaseStatus.CLAIMED, CaseStatus.ESCALATED):
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
    elif step is not None and step.procedure.order.patient_id in doubtful:
        hold(claim, outcome, "TWO_PATIENTS")
        return
    elif outcome.match is None:
        hold(claim, outcome, outcome.reason_code)
        return
    else:
        apply_match(claim, step, matched_by=MatchedBy.AUTO, evidence=evidence_of(outcome.match))
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
    if step.status in STEP_ON_WORKLIST | {StepStatus.EXPIRED}:
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
    study = lock_study(study_id)
    lock_orders(study)
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
    """An order came or changed: look again at the claims that it could satisfy, and at those that it does.

    Subscriber of order.placed and order.changed; may run twice.
    """
    order = ImagingServiceRequest.objects.select_related("patient").get(pk=order_id)
    matched = order.claims.filter(identity=Identity.MATCHED, matched_by=MatchedBy.AUTO)
    moved = {claim.study_id for claim in matched.select_related("study__site") if not _stands(claim)}
    for study_id in sorted(moved | selectors.studies_waiting_for(order)):
        reconcile_study(study_id)
