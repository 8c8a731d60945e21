"""Orders: placed, changed, ended; and what they do to the steps on the worklist."""

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
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
    """What was asked does not fit the orders that are here; the text is for a person. `where`: the HL7 field."""

    def __init__(self, why: str, *, where: str = "ORC-1") -> None:
        super().__init__(why)
        self.where = where


@dataclass(frozen=True)
class StepData:
    """One scheduled procedure step; empty values leave what is known."""

    sps_id: str = ""
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
    """One requested procedure; orders of a placer (RAD-2) give it and its steps no id."""

    requested_procedure_id: str = ""
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

    @property
    def number(self) -> str:
        """What identifies its procedure and step too, where those have no id of their own."""
        return self.accession_number or self.filler_order_number or self.placer_order_number


def find_order(data: OrderData) -> ImagingServiceRequest | None:
    """By filler number, else by placer number, each with its namespace; locked.

    Several orders may follow from one request and share its placer number: one that has another filler number is
    another order. Raises Refused when the numbers lead to more than one.
    All orders of the placer number are locked, also those that are not meant. Two who each hold one that the other
    wants are parted by the database; whom it sends away comes again (hl7.drain, worklists.dimse).
    """
    filler, placer = data.filler_order_number, data.placer_order_number
    by_filler = Q(filler_order_number=filler, filler_issuer=data.filler_issuer) if filler else Q()
    by_placer = Q(placer_order_number=placer, placer_issuer=data.placer_issuer) if placer else Q()
    if not (filler or placer):
        return None
    orders = ImagingServiceRequest.objects.select_for_update(of=("self",), no_key=True).order_by("pk")
    known = list(orders.filter(by_filler | by_placer))
    found = next((each for each in known if filler and _numbers(each)[0] == (filler, data.filler_issuer)), None)
    requested = [each for each in known if placer and _numbers(each)[1] == (placer, data.placer_issuer)]
    if found:
        if found.placer_order_number not in ("", placer) and requested:
            raise Refused("placer and filler order number belong to two different orders", where="ORC-2")
        return found
    possible = [each for each in requested if not filler or each.filler_order_number in ("", filler)]
    if len(possible) > 1:
        raise Refused("several orders have this placer order number: the filler's is needed", where="ORC-2")
    return possible[0] if possible else None


def _numbers(order: ImagingServiceRequest) -> tuple[tuple[str, str], tuple[str, str]]:
    """Filler and placer number, each with its namespace."""
    return (order.filler_order_number, order.filler_issuer), (order.placer_order_number, order.placer_issuer)


@transaction.atomic
def place(
    *, order: ImagingServiceRequest | None, data: OrderData, patient: Patient, visit: Visit | None,
    interface: HL7Application | None, site: Site, anew: bool, received_at: datetime | None = None,
) -> ImagingServiceRequest:  # fmt: skip
    """Place an order or bring it up to date: upsert per (order, procedure, step). Nothing ends by being absent.

    `patient` and `visit` are locked, or made, by this transaction: the worklist is written of them as they are here.
    `anew`: as a new order, which brings back what was canceled. `received_at`: when the message that asks for it came.
    Raises Refused for a change of what is canceled.
    """
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
    known = [] if new else list(order.requested_procedures.order_by("pk"))
    placed = [step for each in data.procedures for step in _place_procedure(order, each, known, data)]
    _bring_back(order, placed, anew=anew)
    if new:
        project_steps(new=list({step.pk: step for step in placed}.values()))
    else:
        # All of them: the order's own columns stand in the answer of each.
        project_steps(list(_steps_of(order).values_list("pk", flat=True)))
    if order.status == OrderStatus.ORDERED and placed:
        transition(order, "order.scheduled", detail=_since_receipt(received_at, placed[0]), ours=new)
    record("order.placed" if new else "order.changed", order, to_state=order.status)
    return order


def _since_receipt(received_at: datetime | None, step: ScheduledProcedureStep) -> dict[str, Any]:
    """What the KPI of the way from an order to the worklist counts."""
    if received_at is None:
        return {}
    seconds = max((timezone.now() - received_at).total_seconds(), 0.0)
    return {"seconds_since_receipt": round(seconds, 6), "modality": step.modality}


def _bring_back(order: ImagingServiceRequest, placed: Sequence[ScheduledProcedureStep], *, anew: bool) -> None:
    """What was canceled comes back by a new order only, and is no longer changed; what is expired by any.

    What was discontinued has been performed in part: nothing brings it back, and who orders it again is told so.
    """
    discontinued = [step for step in placed if step.status == StepStatus.DISCONTINUED]
    if anew and len(discontinued) == len(placed) and (placed or order.status == OrderStatus.DISCONTINUED):
        raise Refused("the exam was discontinued: what is to be done once more needs another order number")
    canceled = [step for step in placed if step.status == StepStatus.CANCELED]
    if not anew and (order.status == OrderStatus.CANCELED or (canceled and len(canceled) == len(placed))):
        raise Refused("the exam is canceled: only a new order (NW) brings it back")
    expired = [step for step in placed if step.status == StepStatus.EXPIRED]
    for step in [*(canceled if anew else []), *expired]:
        transition(step, "step.returned")
    if placed and order.status == OrderStatus.CANCELED:
        transition(order, "order.reopened")


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


def _place_procedure(
    order: ImagingServiceRequest, data: ProcedureData, known: list[RequestedProcedure], whole: OrderData
) -> list[ScheduledProcedureStep]:
    """`known`: the procedures of the order so far, to which this one is added; `whole`: all that is said of it."""
    procedure = _known_procedure(data, known, alone=len(whole.procedures) == 1)
    new = procedure is None
    if procedure is None:
        # Given once, never again: from the order when it names one, else made here (PS3.5 B.2).
        uid = data.study_instance_uid or f"2.25.{uuid.uuid4().int}"
        procedure = RequestedProcedure(order=order, study_instance_uid=uid, numbered_here=True)
        procedure.requested_procedure_id = _free(whole.number, [each.requested_procedure_id for each in known])
        known.append(procedure)
    if data.requested_procedure_id:
        procedure.requested_procedure_id, procedure.numbered_here = data.requested_procedure_id[:64], False
    _fill(procedure, data, skip=("steps", "study_instance_uid", "requested_procedure_id"))
    procedure.save()
    placed: list[ScheduledProcedureStep] = []
    # Locked: a modality may start one at this moment, and its status must not be written back.
    locked = procedure.steps.select_for_update(of=("self",), no_key=True).order_by("pk")
    for each in data.steps:
        steps = list(dict.fromkeys(placed)) if new else list(locked.all())
        placed.append(_place_step(procedure, each, steps, order.site))
    return placed


def _known_procedure(
    data: ProcedureData, known: Sequence[RequestedProcedure], *, alone: bool
) -> RequestedProcedure | None:
    """Which of the order's procedures is meant: by its id, by its code, or because there is no other.

    One that we numbered, since its placer did not, is the same one when its filler has given it an id.
    """
    if data.requested_procedure_id:
        for each in known:
            if each.requested_procedure_id == data.requested_procedure_id[:64]:
                return each
        known = [each for each in known if each.numbered_here]
    same_code = [each for each in known if data.code_value and each.code_value == data.code_value[:64]]
    if same_code:
        return same_code[0]
    return known[0] if alone and len(known) == 1 else None


def _free(number: str, taken: Sequence[str]) -> str:
    """An id for a procedure or step that has none: the order's number, for further ones counted on."""
    numbers = itertools.chain([number[:64]], (f"{number[:60]}-{count}" for count in itertools.count(2)))
    return next(each for each in numbers if each not in taken)


def _place_step(
    procedure: RequestedProcedure, data: StepData, known: Sequence[ScheduledProcedureStep], site: Site
) -> ScheduledProcedureStep:
    """`known`: the steps of the procedure so far, locked."""
    named = [each for each in known if each.sps_id == data.sps_id[:64]]
    meant = named or [each for each in known if each.numbered_here or not data.sps_id]
    if len(meant) > 1:
        raise Refused("the procedure has several steps and the message names none", where="OBR-20")
    if meant:
        step = meant[0]
    else:
        number = _free(procedure.requested_procedure_id, [each.sps_id for each in known])
        step = ScheduledProcedureStep(procedure=procedure, sps_id=number, site=site, numbered_here=True)
    if data.sps_id:
        step.sps_id, step.numbered_here = data.sps_id[:64], False
    _fill(step, data, skip=("sps_id",))
    if step.start_date:
        wall = datetime.combine(step.start_date, step.start_time or time(0))
        step.start_at = wall.replace(tzinfo=ZoneInfo(site.time_zone))
    step.save()
    return step


def named_steps(order: ImagingServiceRequest, requested_procedure_id: str, sps_id: str) -> list[ScheduledProcedureStep]:
    """The steps that a message is about: all, or those that it names where there are several. Raises Refused."""
    steps = list(_steps_of(order).select_related("procedure"))
    if len(steps) < 2:
        return steps
    named = [
        step
        for step in steps
        if step.procedure.requested_procedure_id == (requested_procedure_id or step.procedure.requested_procedure_id)
        and step.sps_id == (sps_id or step.sps_id)
    ]
    if not named:
        raise Refused("the order has no such requested procedure or step", where="OBR-19")
    return named


@transaction.atomic
def end(
    order: ImagingServiceRequest, *, event: str, steps: Sequence[ScheduledProcedureStep], at: datetime | None = None
) -> None:
    """Cancel ("canceled"), discontinue ("discontinued"), hold ("held") steps, and with the last of them the order.

    `at`: what the order was said to be before this no longer changes it. Raises Refused when the exam is completed,
    or has started and may only be discontinued.
    """
    if order.status == OrderStatus.COMPLETED:
        raise Refused("the exam is completed")
    if event != "discontinued" and any(step.status in (StepStatus.STARTED, StepStatus.COMPLETED) for step in steps):
        raise Refused("the exam has started")
    for step in steps:
        if (step.status, f"step.{event}") in MACHINES["step"].transitions:
            transition(step, f"step.{event}")
    if at and (order.changed_by_message_at is None or at > order.changed_by_message_at):
        order.changed_by_message_at = at
        ImagingServiceRequest.objects.filter(pk=order.pk).update(changed_by_message_at=at)
    ended = (order.status, f"order.{event}") in MACHINES["order"].transitions
    if ended and not _steps_of(order).exclude(pk__in=[step.pk for step in steps]).exclude(
        status__in=STEP_FINAL
    ).exists():  # fmt: skip
        transition(order, f"order.{event}")
    project_steps([step.pk for step in steps])


@transaction.atomic
def release(order: ImagingServiceRequest, *, steps: Sequence[ScheduledProcedureStep]) -> None:
    """Back onto the worklist after a hold."""
    for step in steps:
        if step.status == StepStatus.ON_HOLD:
            transition(step, "step.returned")
    if order.status == OrderStatus.ON_HOLD:
        transition(order, "order.scheduled")
    project_steps([step.pk for step in steps])


@transaction.atomic
def set_status(order: ImagingServiceRequest, *, step_event: str, steps: Sequence[ScheduledProcedureStep]) -> None:
    """A status report (ORC-5): move each step that may go that way. Raises Refused when none may, and none is there."""
    moves = MACHINES["step"].transitions
    reached = {to for (_, event), to in moves.items() if event == step_event}
    if not any(step.status in reached or (step.status, step_event) in moves for step in steps):
        raise Refused(f"no step of the order may be {' or '.join(sorted(reached)).lower()} now")
    for step in steps:
        if step.status not in reached and (step.status, step_event) in moves:
            transition(step, step_event)
    project_steps([step.pk for step in steps])
    advance_order(order)


@transaction.atomic
def advance_step(
    *, step: ScheduledProcedureStep, event: str, reason: str = "", detail: dict[str, Any] | None = None
) -> None:
    """Move one step, keep its worklist answer, and let the order follow.

    The order is locked first, as by whatever else changes an order and its steps: two never wait for each other, and
    of two steps that end at once the later sees what the other came to.
    """
    ImagingServiceRequest.objects.select_for_update(of=("self",), no_key=True).get(pk=step.procedure.order_id)
    transition(step, event, reason=reason, detail=detail)
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


def project_steps(step_ids: Sequence[int] = (), *, new: Sequence[ScheduledProcedureStep] = ()) -> None:
    """Keep the encoded worklist answers of these steps (settings.STEP_PROJECTIONS), in this transaction.

    `new`: steps that it has made, as they were written, with the rows above them: they are not read once more.
    """
    if step_ids or new:
        for name in settings.STEP_PROJECTIONS:
            import_string(name)(list(step_ids), new=new)


def project_patient(patient: Patient) -> None:
    """A patient's demographics changed: so do the answers of all open steps."""
    _project_open(ImagingServiceRequest.objects.filter(patient=patient))


def project_visit(visit: Visit) -> None:
    """A visit changed (where the patient is): so do the answers of its open steps."""
    _project_open(ImagingServiceRequest.objects.filter(visit=visit))


def _project_open(orders: QuerySet[ImagingServiceRequest]) -> None:
    """The orders are locked first, always in the same order: a modality may start one of their steps at this moment."""
    locked = [order.pk for order in orders.select_for_update(of=("self",), no_key=True).order_by("pk")]
    steps = ScheduledProcedureStep.objects.filter(procedure__order__in=locked).exclude(status__in=STEP_FINAL)
    project_steps(list(steps.values_list("pk", flat=True)))
