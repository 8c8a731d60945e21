"""What follows when the record changes behind what was matched or held: corrections, and another look (promise 2)."""

from django.db import transaction
from django.db.models import QuerySet

from orchestrator.models import SYSTEM, Decision, IdentityClaim, ImagingServiceRequest, acting
from orchestrator.services import corrections
from orchestrator.services.studies import lock_study
from orchestrator.services.workflow import record
from orchestrator.states import Identity, MatchedBy
from reconciliation.services.reconcile import decision_of, rematch_for_order


def patient_changed(patient_id: int) -> None:
    """Who the matched images are of is called otherwise now; and held ones may fit. Subscriber of patient.updated.

    May run twice.
    """
    for order_id in ImagingServiceRequest.objects.filter(patient=patient_id).values_list("pk", flat=True):
        rematch_for_order(order_id)
    _correct(IdentityClaim.objects.filter(matched_patient=patient_id))


def order_changed(order_id: int) -> None:
    """What the matched images were made for is numbered otherwise now. Subscriber of order.changed; may run twice.

    First what was matched by itself and fits no longer is taken back: nothing leaves under the new number by a match
    that does not stand.
    """
    rematch_for_order(order_id)
    _correct(IdentityClaim.objects.filter(order=order_id))


def _correct(claims: QuerySet[IdentityClaim]) -> None:
    """Bring the corrections of matched claims up to date; where they changed, the new rendition is routed."""
    matched = claims.filter(identity=Identity.MATCHED).order_by()
    for study_id in matched.values_list("study", flat=True).distinct():
        with transaction.atomic(), acting(SYSTEM):
            study = lock_study(study_id)
            changed = [_recompute(claim) for claim in claims.filter(study=study, identity=Identity.MATCHED)]
            if any(changed):
                record("study.reconciled", study)


def _recompute(claim: IdentityClaim) -> bool:
    """Whether something leaves otherwise now. What a person let stand as received still stands."""
    decision: Decision | None = decision_of(claim) if claim.matched_by == MatchedBy.PERSON else None
    keep = frozenset(decision.parameters.get("keep", ())) if decision else frozenset[str]()
    return corrections.recompute(claim, decision=decision, keep=keep)
