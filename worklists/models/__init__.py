"""The tables of the worklists."""

from worklists.models.performed import ModalityPerformedProcedureStep, RefusedReport
from worklists.models.worklist import MatchValue, ScheduledStation, WorklistEntry, WorklistQuery

__all__ = [
    "MatchValue",
    "ModalityPerformedProcedureStep",
    "RefusedReport",
    "ScheduledStation",
    "WorklistEntry",
    "WorklistQuery",
]
