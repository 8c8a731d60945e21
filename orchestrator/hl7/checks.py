"""What a message must have to be taken at all. Everything else is found out when it is applied."""

from collections.abc import Iterator

from django.conf import settings

from orchestrator.hl7.mapping import Part, control_of, parts_of
from orchestrator.hl7.messages import Malformed, Message, Segment

# Order controls that tell what is to be done: the others need only name the order.
_WITH_OBR = {"NW", "XO", "XX"}


def problem_of(message: Message) -> Malformed | None:
    """What makes it impossible to take this message; None when it can be taken."""
    return next(_problems(message), None)


def _problems(message: Message) -> Iterator[Malformed]:
    kind = message.msh.get(9)
    if message.message_type not in settings.HL7_HANDLERS:
        known = {name.partition("^")[0] for name in settings.HL7_HANDLERS}
        yield Malformed("MSH-9", f"{message.message_type[:20]} is not supported", 201 if kind in known else 200)
        return
    if not message.control_id:
        yield Malformed("MSH-10", "the message control id is missing", 101)
    yield from _patient_problems(message.first("PID"))
    if kind == "ORM":
        parts = parts_of(message)
        if not parts:
            yield Malformed("ORC", "the segment is missing", 100)
        for part in parts:
            yield from _order_problems(part)


def _patient_problems(pid: Segment | None) -> Iterator[Malformed]:
    if pid is None:
        yield Malformed("PID", "the segment is missing", 100)
        return
    if not any(cx.get(1).strip(' "') for cx in pid.repetitions(3)):
        yield Malformed("PID-3", "the required field is empty", 101)
    if not any(part.strip(' "') for xpn in pid.repetitions(5) for part in xpn.parts()):
        yield Malformed("PID-5", "the required field is empty", 101)


def _order_problems(part: Part) -> Iterator[Malformed]:
    orc = part["ORC"]
    if orc is None or not orc.get(1):
        yield Malformed("ORC-1", "the required field is empty", 101)
        return
    try:
        control_of(orc)
    except Malformed as problem:
        yield problem
    if orc.get(1).upper() in _WITH_OBR and part["OBR"] is None:
        yield Malformed("OBR", "the segment is missing", 100)
    if not any(part.order_numbers):
        yield Malformed("ORC-2", "neither a placer nor a filler order number is given", 101)
