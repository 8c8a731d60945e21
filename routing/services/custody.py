"""Custody of a study, derived from what became of each instance at the destinations that are required for it."""

from django.db import transaction
from django.db.models import Exists, QuerySet

from orchestrator.models import IdentityClaim, Instance, Study
from orchestrator.services.studies import lock_study
from orchestrator.services.workflow import transition
from orchestrator.states import ACQUISITIONS, DELIVERY_REACHED, Custody, DeliveryStatus, Identity
from routing.datasets import rendition_of
from routing.models import DeliveredInstance
from routing.selectors import other_copies


def corrections_of(claim: IdentityClaim) -> dict[str, tuple[str, str]]:
    """A claim's corrections as {keyword: (received, current)}."""
    return {each.attribute: (each.old, each.new) for each in claim.corrections.all()}


@transaction.atomic
def refresh_custody(study_id: int) -> None:
    """DELIVERED or RECEIVED, as the rows of its instances say now. What is still arriving is not judged."""
    study = lock_study(study_id)
    if study.custody == Custody.RECEIVED and _is_delivered(study):
        transition(study, "study.delivered")
    elif study.custody == Custody.DELIVERED and not _is_delivered(study):
        transition(study, "study.outstanding")


def _is_delivered(study: Study) -> bool:
    """Whether each of its instances is at a required destination as it leaves now, and none is still to go to one."""
    there = False
    for claim in study.claims.filter(purpose__in=ACQUISITIONS).exclude(identity=Identity.REJECTED):
        instances = Instance.objects.filter(claim=claim, differs_from=None, purpose__in=ACQUISITIONS)
        if not instances.exists():
            continue
        required = DeliveredInstance.objects.filter(
            instance__claim=claim,
            delivery__rendition=rendition_of(corrections_of(claim)),
            delivery__destination__required_for_custody=True,
        ).exclude(status=DeliveryStatus.CANCELED)
        # What a person has canceled as a whole is no longer to go there; what went before that is there.
        open_ = required.exclude(delivery__status=DeliveryStatus.CANCELED).exclude(status__in=DELIVERY_REACHED)
        arrived = _certain(required.filter(status__in=DELIVERY_REACHED))
        if claim.identity != Identity.MATCHED or open_.exists():
            return False
        if instances.exclude(pk__in=arrived.values("instance")).exists():
            return False
        there = True
    return there


def _certain(rows: QuerySet[DeliveredInstance]) -> QuerySet[DeliveredInstance]:
    """Without those whose destination perhaps holds the same object with other values.

    Many archives answer Success to a second copy and keep the first: a correction counts only once it was read back
    (promise 2), which makes it VERIFIED.
    """
    return rows.exclude(Exists(other_copies()), status=DeliveryStatus.SENT)
