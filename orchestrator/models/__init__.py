"""The tables of the ground."""

from orchestrator.models.access import AccessChain, AccessEvent, ApiToken, Role, RoleAssignment, User
from orchestrator.models.correction import Correction, Decision
from orchestrator.models.endpoint import ApplicationEntity, Device, HL7Application, Site, UnknownCaller
from orchestrator.models.exception import ExceptionCase
from orchestrator.models.history import SYSTEM, Actor, ActorKind, act_as, acting, current_actor, current_reason
from orchestrator.models.job import Job, JobItem
from orchestrator.models.kpi import WHOLE_DAY, KpiFact, KpiSubject, KpiTally, KpiTarget
from orchestrator.models.message import InboundMessage, MessageKey
from orchestrator.models.name import ClaimWord, Glob, NameWord, PatientWord, fold_name, folded_words, words_to_keep
from orchestrator.models.order import (
    ExpectedInstance,
    ImagingServiceRequest,
    RequestedProcedure,
    ScheduledProcedureStep,
    WrongEntry,
)
from orchestrator.models.patient import Issuer, Patient, PatientIdentifier
from orchestrator.models.presence import Presence
from orchestrator.models.study import Hop, IdentityClaim, Instance, Series, Study
from orchestrator.models.view import DefaultView, SavedView
from orchestrator.models.visit import Visit
from orchestrator.models.workflow import Subscription, Work, WorkflowEvent

__all__ = [
    "SYSTEM",
    "WHOLE_DAY",
    "AccessChain",
    "AccessEvent",
    "Actor",
    "ActorKind",
    "ApiToken",
    "ApplicationEntity",
    "ClaimWord",
    "Correction",
    "Decision",
    "DefaultView",
    "Device",
    "ExceptionCase",
    "ExpectedInstance",
    "Glob",
    "HL7Application",
    "Hop",
    "IdentityClaim",
    "ImagingServiceRequest",
    "InboundMessage",
    "Instance",
    "Issuer",
    "Job",
    "JobItem",
    "KpiFact",
    "KpiSubject",
    "KpiTally",
    "KpiTarget",
    "MessageKey",
    "NameWord",
    "Patient",
    "PatientIdentifier",
    "PatientWord",
    "Presence",
    "RequestedProcedure",
    "Role",
    "RoleAssignment",
    "SavedView",
    "ScheduledProcedureStep",
    "Series",
    "Site",
    "Study",
    "Subscription",
    "UnknownCaller",
    "User",
    "Visit",
    "Work",
    "WorkflowEvent",
    "WrongEntry",
    "act_as",
    "acting",
    "current_actor",
    "current_reason",
    "fold_name",
    "folded_words",
    "words_to_keep",
]
