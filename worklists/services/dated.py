"""What of the worklists is set back with an exam (orchestrator.services.dating)."""

from orchestrator.models import ImagingServiceRequest, ScheduledProcedureStep, Study
from orchestrator.services.dated import cases_about
from orchestrator.services.dating import Dated
from worklists.models import ModalityPerformedProcedureStep, WorklistQuery

DATED = (
    Dated(
        ModalityPerformedProcedureStep,
        ("created_at", "updated_at", "ended_at"),
        {ImagingServiceRequest: "order_id", Study: "study_instance_uid"},
    ),
    *cases_about(ModalityPerformedProcedureStep),
    # The last step of an answer is the latest that was scheduled; who got none asked too early for the next.
    Dated(WorklistQuery, ("first_at", "last_at"), {ScheduledProcedureStep: "step_ids"}, with_the_one_before=True),
)
