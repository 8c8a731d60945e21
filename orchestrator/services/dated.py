"""Which rows of the ground belong to an exam, and which of their moments are set back with it (services.dating)."""

from typing import Any

from django.db.models import Model

from orchestrator.models import (
    Correction,
    Decision,
    ExceptionCase,
    Hop,
    IdentityClaim,
    ImagingServiceRequest,
    InboundMessage,
    Instance,
    Patient,
    PatientIdentifier,
    RequestedProcedure,
    ScheduledProcedureStep,
    Study,
    Subscription,
    Visit,
    WorkflowEvent,
    WrongEntry,
)
from orchestrator.services.dating import Dated

_ABOUT = {Study: "study_id", ImagingServiceRequest: "order_id", Patient: "patient_id"}


def _about(model: type[Model]) -> dict[str, Any]:
    """What is about a row of this model and names no study: it may name no order and no patient either."""
    return {"subject_type": str(model._meta.model_name), "study_id": None}


def events_about(model: type[Model]) -> Dated:
    return Dated(WorkflowEvent, ("at",), {model: "subject_id"}, where=_about(model))


def cases_about(model: type[Model]) -> tuple[Dated, Dated]:
    """Those, and then their events."""
    cases = Dated(
        ExceptionCase, ("opened_at", "resolved_at"), {model: "subject_id"}, {"due_at": "opened_at"}, _about(model)
    )
    return cases, events_about(ExceptionCase)


# Each after those that it is linked to.
DATED = (
    Dated(Patient, ("created_at", "demographics_at")),
    Dated(PatientIdentifier, links={Patient: "patient_id"}),
    Dated(Visit, ("admitted_at", "discharged_at"), {Patient: "patient_id"}),
    Dated(ImagingServiceRequest, ("created_at", "changed_by_message_at")),
    Dated(RequestedProcedure, links={ImagingServiceRequest: "order_id"}),
    Dated(ScheduledProcedureStep, links={RequestedProcedure: "procedure_id"}),
    Dated(
        InboundMessage,
        ("sent_at", "received_at", "applied_at"),
        {ImagingServiceRequest: "order_id", Patient: "patient_id", InboundMessage: "duplicate_of_id"},
        with_the_one_before=True,
    ),
    Dated(Study, ("first_received_at", "last_received_at")),
    Dated(IdentityClaim, links={Study: "study_id"}),
    Dated(Instance, ("received_at",), {Study: "study_id"}),
    Dated(WrongEntry, ("at",), {Study: "study_instance_uid"}),
    Dated(Hop, ("at",), {Study: "study_id"}),
    Dated(
        ExceptionCase,
        ("opened_at", "resolved_at"),
        {**_ABOUT, InboundMessage: "message_id"},
        follows={"due_at": "opened_at"},
    ),
    Dated(Decision, ("at", "undone_at"), {IdentityClaim: "claim_id"}),
    Dated(Correction, ("created_at",), {IdentityClaim: "claim_id"}),
    Dated(WorkflowEvent, ("at",), _ABOUT),
    events_about(InboundMessage),
    events_about(ExceptionCase),
    Dated(Subscription, ("created_at",), {WorkflowEvent: "event_id"}),
    *cases_about(Subscription),
)
