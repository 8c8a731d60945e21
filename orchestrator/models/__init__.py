"""The tables of the ground."""

from orchestrator.models.access import AccessChain, AccessEvent, ApiToken, Role, RoleAssignment, User
from orchestrator.models.correction import Correction, Decision
from orchestrator.models.endpoint import ApplicationEntity, Device, HL7Application, Site, UnknownCaller
from orchestrator.models.exception import CasePresence, ExceptionCase
from orchestrator.models.history import SYSTEM, Actor, ActorKind, act_as, acting, current_actor, current_reason
from orchestrator.models.job import Job
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
from orchestrator.models.study import Hop, IdentityClaim, Instance, Series, Study
from orchestrator.models.visit import Visit
from orchestrator.models.workflow import Subscription, Work, WorkflowEvent

__all__ = [
    "SYSTEM",
    "AccessChain",
    "AccessEvent",
    "Actor",
    "ActorKind",
    "ApiToken",
    "ApplicationEntity",
    "CasePresence",
    "ClaimWord",
    "Correction",
    "Decision",
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
    "MessageKey",
    "NameWord",
    "Patient",
    "PatientIdentifier",
    "PatientWord",
    "RequestedProcedure",
    "Role",
    "RoleAssignment",
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
