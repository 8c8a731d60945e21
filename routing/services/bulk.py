"""Trying many deliveries again, or stopping them."""

from typing import Any

from orchestrator.models import Job, User
from orchestrator.permissions import Viewer, can
from orchestrator.services import bulk
from orchestrator.states import DELIVERY_WAITING, MACHINES, DeliveryStatus, IllegalTransition
from routing.models import Delivery
from routing.services import deliver

EVENTS = {"retry": "delivery.retrying", "cancel": "delivery.canceled"}


def may(act: str, status: str) -> bool:
    """Whether a person may do this to a delivery in that state. From SENDING only its worker may go to RETRYING."""
    if act == "retry" and status == DeliveryStatus.SENDING:
        return False
    return (status, EVENTS[act]) in MACHINES["delivery"].transitions


def why_left(act: str, status: str) -> str:
    """Why a delivery in this state is left as it is; empty when the act applies to it."""
    return "" if may(act, status) else DeliveryStatus(status).label.lower()


def seen_of(status: str) -> str:
    """What a person means by what they saw: those that wait go from state to state by themselves."""
    return "waiting" if status in DELIVERY_WAITING else status


def operate(job: Job) -> dict[str, Any]:
    """Job: `act` on each delivery of the job."""
    act, reason = job.parameters["act"], job.parameters["reason"]

    def do(viewer: Viewer, _user: User, key: int, seen: str) -> None:
        delivery = Delivery.objects.select_related("study", "destination").get(pk=key)
        if not can(viewer, "deliveries.operate", delivery.study.site_id):
            raise bulk.Left("You may not operate deliveries of its site.")
        if left := why_left(act, delivery.status):
            raise bulk.Left(f"Left as it is: {left}.")
        if seen_of(delivery.status) != seen:
            raise bulk.Left(f"Changed since you started this: it is {DeliveryStatus(delivery.status).label.lower()}.")
        try:
            (deliver.retry if act == "retry" else deliver.cancel)(delivery, reason=reason)
        except IllegalTransition as refusal:
            raise bulk.Left(f"Left as it is: {DeliveryStatus(refusal.state).label.lower()}.") from refusal

    return bulk.run(job, do)
