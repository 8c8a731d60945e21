"""What each message does (settings.HL7_HANDLERS). Called in the transaction that marks the message applied."""

from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.hl7 import mapping
from orchestrator.hl7.mapping import Part
from orchestrator.hl7.messages import Malformed, Message
from orchestrator.models import ImagingServiceRequest, InboundMessage, Patient, Visit
from orchestrator.services import orders, patients, visits

_ARRIVING = ("ADT^A01", "ADT^A04")


@dataclass(frozen=True)
class Effect:
    """What a message was about."""

    patient: Patient
    order: ImagingServiceRequest | None = None


def keys_of(message: Message, inbound: InboundMessage) -> set[str]:
    """What the message is about, by every name: later ones that share a key wait when it is set aside."""
    pid = message.first("PID")
    identifiers = mapping.identifiers_of(pid) if pid else []
    keys = {patients.key_of(each, site=inbound.site, interface=inbound.interface) for each in identifiers}
    for part in mapping.parts_of(message):
        placer, filler = part.order_numbers
        keys |= {f"placer|{placer}"} if placer else set()
        keys |= {f"filler|{filler}"} if filler else set()
    return keys


def adt(message: Message, inbound: InboundMessage) -> Effect:
    """ADT^A01, A04: patient and visit. A08, A31: demographics."""
    patient, _ = _patient_and_visit(message, inbound, active=message.message_type in _ARRIVING)
    return Effect(patient)


def orm(message: Message, inbound: InboundMessage) -> Effect:
    """ORM^O01: one or more orders, all or none."""
    patient, visit = _patient_and_visit(message, inbound, active=False)
    order = None
    for parts in mapping.orders_of(message):
        order = _one_order(message, inbound, parts, patient, visit)
    return Effect(patient, order)


def _patient_and_visit(message: Message, inbound: InboundMessage, *, active: bool) -> tuple[Patient, Visit | None]:
    data = mapping.to_patient(message)
    data = replace(data, confirmed=inbound.confirmed, at=_at(data.at, inbound))
    try:
        patient = patients.upsert_patient(data=data, site=inbound.site, interface=inbound.interface)
    except patients.IdentityConflict as conflict:
        raise Malformed("PID-3", str(conflict), 204) from conflict
    try:
        visit = visits.upsert_visit(data=mapping.to_visit(message), patient=patient, site=inbound.site, active=active)
    except visits.OtherPatient as conflict:
        raise Malformed("PV1-19", str(conflict), 204) from conflict
    return patient, visit


def _at(told: datetime | None, inbound: InboundMessage) -> datetime | None:
    """When something was said: before we heard it, or a clock that is ahead would make all later messages late."""
    return min(told, inbound.received_at) if told else None


def _one_order(
    message: Message, inbound: InboundMessage, parts: list[Part], patient: Patient, visit: Visit | None
) -> ImagingServiceRequest:
    orc = parts[0]["ORC"]
    action, data = mapping.control_of(orc) if orc else "", mapping.to_order(message, parts)
    data = replace(data, at=_at(data.at, inbound))
    try:
        order = orders.find_order(data)
        if order is not None and order.patient_id != patient.pk:
            # Also when it is placed again: an order never changes its patient by a number that was used twice.
            raise Malformed("PID-3", "the order belongs to another patient", 204)
        if action == "place" and (order or data.procedures):
            return orders.place(
                order=order, data=data, patient=patient, visit=visit, interface=inbound.interface, site=inbound.site,
                anew=orc is not None and orc.get(1).upper() == "NW", received_at=inbound.received_at,
            )  # fmt: skip
        if order is None:
            raise Malformed("ORC-3" if data.filler_order_number else "ORC-2", "the order is not known", 204)
        named = {step.pk: step for part in parts for step in orders.named_steps(order, *part.names)}
        if action == "released":
            orders.release(order, steps=list(named.values()))
        elif action.startswith("step."):
            orders.set_status(order, step_event=action, steps=list(named.values()))
        else:
            orders.end(order, event=action, steps=list(named.values()), at=data.at)
    except orders.Refused as refused:
        raise Malformed(refused.where, str(refused), 207) from refused
    return order
