"""What each message does (settings.HL7_HANDLERS). Called in the transaction that marks the message applied."""

from dataclasses import dataclass

from orchestrator.hl7 import mapping
from orchestrator.hl7.messages import Malformed, Message, Segment
from orchestrator.models import ImagingServiceRequest, InboundMessage, Patient, Visit
from orchestrator.services import orders, patients, visits

_ARRIVING = ("ADT^A01", "ADT^A04")


@dataclass(frozen=True)
class Effect:
    """What a message was about."""

    patient: Patient
    order: ImagingServiceRequest | None = None


def keys_of(message: Message) -> tuple[str, str]:
    """(patient key, order key): what later messages of the same subject wait for when this one is set aside."""
    pid = message.first("PID")
    cx = pid.repetitions(3) if pid else []
    patient = f"{cx[0].get(4) or cx[0].get(4, 2)}|{cx[0].get(1)}" if cx and cx[0].get(1) else ""
    orc = message.first("ORC")
    number = (orc.get(3) or orc.get(2)) if orc else ""
    return patient[:200], f"{orc.get(3, 2) or orc.get(2, 2)}|{number}"[:200] if orc and number else ""


def adt(message: Message, inbound: InboundMessage) -> Effect:
    """ADT^A01, A04: patient and visit. A08, A31: demographics."""
    patient, _ = _patient_and_visit(message, inbound, active=message.message_type in _ARRIVING)
    return Effect(patient)


def orm(message: Message, inbound: InboundMessage) -> Effect:
    """ORM^O01: one or more ORC groups."""
    patient, visit = _patient_and_visit(message, inbound, active=False)
    order = None
    for group in message.groups("ORC"):
        order = _one_order(message, inbound, group, patient, visit)
    return Effect(patient, order)


def _patient_and_visit(message: Message, inbound: InboundMessage, *, active: bool) -> tuple[Patient, Visit | None]:
    patient = patients.upsert_patient(data=mapping.to_patient(message), site=inbound.site)
    visit = visits.upsert_visit(data=mapping.to_visit(message), patient=patient, site=inbound.site, active=active)
    return patient, visit


def _one_order(
    message: Message, inbound: InboundMessage, group: list[Segment], patient: Patient, visit: Visit | None
) -> ImagingServiceRequest:
    action, data = mapping.control_of(group[0]), mapping.to_order(message, group)
    order = orders.find_order(data)
    if order is not None and order.patient_id != patient.pk:
        # Also when it is placed again: an order never changes its patient by a number that was used twice.
        raise Malformed("PID-3", "the order belongs to another patient", 204)
    if action == "place" and (order or data.procedures):
        return orders.place(data=data, patient=patient, visit=visit, interface=inbound.interface, site=inbound.site)
    if order is None:
        raise Malformed("ORC-3" if data.filler_order_number else "ORC-2", "the order is not known", 204)
    try:
        if action == "released":
            orders.release(order)
        elif action.startswith("step."):
            orders.set_status(order, step_event=action)
        else:
            orders.end(order, event=action)
    except orders.Refused as error:
        raise Malformed("ORC-1", str(error), 207) from error
    return order
