"""Orders: placed, changed, ended; and what they do to the steps on the worklist."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils.module_loading import import_string

from orchestrator.models import (
    HL7Application,
    ImagingServiceRequest,
    Patient,
    RequestedProcedure,
    ScheduledProcedureStep,
    Site,
    Visit,
)
from orchestrator.services.workflow import record, transition
from orchestrator.states import MACHINES, ORDER_FINAL, STEP_FINAL, OrderStatus, StepStatus


class Refused(Exception):
    """What was asked does not fit the order's state; the text is for a person."""


@dataclass(frozen=True)
class StepData:
    """One scheduled procedure step; empty values leave what is known."""

    sps_id: str
    modality: str = ""
    station_ae_titles: list[str] = field(default_factory=list)
    station_name: str = ""
    location: str = ""
    start_date: date | None = None
    start_time: time | None = None
    performing_physician: str = ""
    description: str = ""
    protocol_codes: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class ProcedureData:
    requested_procedure_id: str
    study_instance_uid: str = ""
    code_value: str = ""
    coding_scheme_designator: str = ""
    code_meaning: str = ""
    description: str = ""
    steps: list[StepData] = field(default_factory=list)


@dataclass(frozen=True)
class OrderData:
    """An ORC group; empty values leave what is known."""

    placer_order_number: str = ""
    placer_issuer: str = ""
    filler_order_number: str = ""
    filler_issuer: str = ""
    accession_number: str = ""
    priority: str = ""
    requesting_physician: str = ""
    referring_physician: str = ""
    reason: str = ""
    danger_code: str = ""
    relevant_clinical_information: str = ""
    patient_transport: str = ""
    at: datetime | None = None
    procedures: list[ProcedureData] = field(default_factory=list)


def find_order(data: OrderData) -> ImagingServiceRequest | None:
    """By filler number, else by placer number, each with its namespace."""
    orders = ImagingServiceRequest.objects.select_for_update(of=("self",))
    if data.filler_order_number:
        found = orders.filter(filler_order_number=data.filler_order_number, filler_issuer=data.filler_issuer).first()
        if found:
            return found
    if data.placer_order_number:
        return orders.filter(placer_order_number=data.placer_order_number, placer_issuer=data.placer_issuer).first()
    return None


@transaction.atomic
def place(
    *, data: OrderData, patient: Patient, visit: Visit | None, interface: HL7Application | None, site: Site
) -> ImagingServiceRequest:
    """Place an order or bring it up to date: upsert per (order, procedure, step). Nothing ends by being absent."""
    order = find_order(data)
    new = order is None
    if order is None:
        order = ImagingServiceRequest(site=site, patient=patient, interface=interface)
    elif data.at and order.changed_by_message_at and data.at < order.changed_by_message_at:
        record("order.late_update_ignored", order)
        return order
    order.patient, order.visit = patient, visit or order.visit
    _fill(order, data, skip=("at", "procedures"))
    order.changed_by_message_at = data.at or order.changed_by_message_at
    order.save()
    changed = [_place_procedure(order, each, site) for each in data.procedures]
    project_steps([step.pk for steps in changed for step in steps])
    if order.status == OrderStatus.ORDERED and any(changed):
        transition(order, "order.scheduled")
    record("order.placed" if new else "order.changed", order, to_state=order.status)
    return order


def _fill(
    row: ImagingServiceRequest | RequestedProcedure | ScheduledProcedureStep, data: object, skip: Sequence[str]
) -> None:
    """Copy the values that are there into columns of the same name, cut to their length."""
    lengths = {column.name: column.max_length for column in row._meta.fields}
    for name, value in vars(data).items():
        if name in skip or value in ("", None, []):
            continue
        length = lengths[name]
        setattr(row, name, value[:length] if length and isinstance(value, str) else value)


def _place_procedure(order: ImagingServiceRequest, data: ProcedureData, site: Site) -> list[ScheduledProcedureStep]:
    procedure = order.requested_procedures.filter(requested_procedure_id=data.requested_procedure_id).first()
    if procedure is None:
        procedure = RequestedProcedure(order=order, requested_procedure_id=data.requested_procedure_id)
        # Given once, never again: from the order when it names one, else made here (PS3.5 B.2).
        procedure.study_instance_uid = data.study_instance_uid or f"2.25.{uuid.uuid4().int}"
    _fill(procedure, data, skip=("steps", "study_instance_uid", "requested_procedure_id"))
    procedure.save()
    return [_place_step(procedure, each, site) for each in data.steps]


def _place_step(procedure: RequestedProcedure, data: StepData, site: Site) -> ScheduledProcedureStep:
    step = procedure.steps.filter(sps_id=data.sps_id).first()
    if step is None:
        step = ScheduledProcedureStep(procedure=procedure, sps_id=data.sps_id, site=site)
    _fill(step, data, skip=("sps_id",))
    if step.start_date:
        wall = datetime.combine(step.start_date, step.start_time or time(0))
        step.start_at = wall.replace(tzinfo=ZoneInfo(site.time_zone))
    step.save()
    return step


@transaction.atomic
def end(order: ImagingServiceRequest, *, event: str) -> None:
    """Cancel ("canceled"), discontinue ("discontinued"), hold ("held") an order.

    Raises Refused when it is completed, or has started and may only be discontinued.
    """
    steps = list(_steps_of(order))
    if order.status == OrderStatus.COMPLETED:
        raise Refused("the exam is completed")
    if event != "discontinued" and any(step.status in (StepStatus.STARTED, StepStatus.COMPLETED) for step in steps):
        raise Refused("the exam has started")
    for step in steps:
        if (step.status, f"step.{event}") in MACHINES["step"].transitions:
            transition(step, f"step.{event}")
    if (order.status, f"order.{event}") in MACHINES["order"].transitions:
        transition(order, f"order.{event}")
    project_steps([step.pk for step in steps])


@transaction.atomic
def release(order: ImagingServiceRequest) -> None:
    """Back onto the worklist after a hold."""
    for step in _steps_of(order).filter(status=StepStatus.ON_HOLD):
        transition(step, "step.returned")
    if order.status == OrderStatus.ON_HOLD:
        transition(order, "order.scheduled")
    project_steps(list(_steps_of(order).values_list("pk", flat=True)))


@transaction.atomic
def set_status(order: ImagingServiceRequest, *, step_event: str) -> None:
    """A status report (ORC-5): move each step that may go that way. Raises Refused when none may, and none is there."""
    moves = MACHINES["step"].transitions
    reached = {to for (_, event), to in moves.items() if event == step_event}
    steps = list(_steps_of(order))
    if not any(step.status in reached or (step.status, step_event) in moves for step in steps):
        raise Refused(f"no step of the order may be {' or '.join(sorted(reached)).lower()} now")
    for step in steps:
        if step.status not in reached and (step.status, step_event) in moves:
            transition(step, step_event)
    project_steps(list(_steps_of(order).values_list("pk", flat=True)))
    advance_order(order)


@transaction.atomic
def advance_step(*, step: ScheduledProcedureStep, event: str, reason: str = "") -> None:
    """Move one step, keep its worklist answer, and let the order follow."""
    # The order first, as whatever else changes an order and its steps: two never wait for each other.
    ImagingServiceRequest.objects.select_for_update(of=("self",)).get(pk=step.procedure.order_id)
    transition(step, event, reason=reason)
    project_steps([step.pk])
    advance_order(step.procedure.order)


def advance_order(order: ImagingServiceRequest) -> None:
    """The order's status as its steps say: started by the first, completed by the last."""
    order.refresh_from_db()
    statuses = set(_steps_of(order).values_list("status", flat=True))
    if not statuses:
        return
    if StepStatus.STARTED in statuses or (statuses & {StepStatus.COMPLETED} and not statuses <= STEP_FINAL):
        event = "order.started"
    elif statuses <= STEP_FINAL and StepStatus.COMPLETED in statuses:
        event = "order.completed"
    elif statuses == {StepStatus.DISCONTINUED}:
        event = "order.discontinued"
    elif not statuses & STEP_FINAL and order.status in ORDER_FINAL | {OrderStatus.IN_PROGRESS}:
        event = "order.reopened"
    else:
        return
    if (order.status, event) in MACHINES["order"].transitions:
        transition(order, event)


def _steps_of(order: ImagingServiceRequest) -> QuerySet[ScheduledProcedureStep]:
    return ScheduledProcedureStep.objects.filter(procedure__order=order).order_by("pk")


def project_steps(step_ids: Sequence[int]) -> None:
    """Keep the encoded worklist answers of these steps (settings.STEP_PROJECTIONS), in this transaction."""
    if step_ids:
        for name in settings.STEP_PROJECTIONS:
            import_string(name)(list(step_ids))


def project_patient(patient: Patient) -> None:
    """A patient's demographics changed: so do the answers of all open steps."""
    open_steps = ScheduledProcedureStep.objects.filter(procedure__order__patient=patient).exclude(status__in=STEP_FINAL)
    project_steps(list(open_steps.values_list("pk", flat=True)))
