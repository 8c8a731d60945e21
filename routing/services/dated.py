"""What of routing is set back with an exam (orchestrator.services.dating)."""

from orchestrator.models import Study
from orchestrator.services.dated import cases_about
from orchestrator.services.dating import Dated
from routing.models import DeliveredInstance, Delivery, DeliveryAttempt

# When a delivery that waits is tried again is no part of the past: it stays as it is.
DATED = (
    Dated(Delivery, ("created_at", "finished_at"), {Study: "study_id"}),
    *cases_about(Delivery),
    Dated(DeliveredInstance, ("at",), {Delivery: "delivery_id"}),
    Dated(DeliveryAttempt, ("started_at", "ended_at"), {Delivery: "delivery_id"}),
)
