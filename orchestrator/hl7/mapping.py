"""HL7 fields -> ours, as tables (IHE RAD-4; the DICOM side of each is in docs/conformance.md)."""

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Literal

from orchestrator.hl7.messages import Malformed, Message, Repetition, Segment, parse_time
from orchestrator.services.orders import OrderData, ProcedureData, StepData
from orchestrator.services.patients import IdentifierData, PatientData
from orchestrator.services.visits import VisitData

DELETE = '""'

# (segment, field, component): the first that has a value wins.
Path = tuple[str, int, int]
ORDER: Mapping[str, list[Path]] = {
    "placer_order_number": [("ORC", 2, 1), ("OBR", 2, 1)],
    "placer_issuer": [("ORC", 2, 2), ("OBR", 2, 2)],
    "filler_order_number": [("ORC", 3, 1), ("OBR", 3, 1)],
    "filler_issuer": [("ORC", 3, 2), ("OBR", 3, 2)],
    "accession_number": [("IPC", 1, 1), ("OBR", 18, 1)],
    "reason": [("OBR", 31, 2), ("OBR", 31, 1)],
    "danger_code": [("OBR", 12, 2), ("OBR", 12, 1)],
    "relevant_clinical_information": [("OBR", 13, 1)],
    "patient_transport": [("OBR", 30, 1)],
}
PROCEDURE: Mapping[str, list[Path]] = {
    "requested_procedure_id": [("IPC", 2, 1), ("OBR", 19, 1)],
    "study_instance_uid": [("IPC", 3, 1), ("ZDS", 1, 1)],
    "code_value": [("OBR", 44, 1), ("OBR", 4, 1)],
    "coding_scheme_designator": [("OBR", 44, 3), ("OBR", 4, 3)],
    "code_meaning": [("OBR", 44, 2), ("OBR", 4, 2)],
    "description": [("OBR", 44, 2), ("OBR", 4, 2)],
}
STEP: Mapping[str, list[Path]] = {
    "sps_id": [("IPC", 4, 1), ("OBR", 20, 1)],
    "modality": [("IPC", 5, 1), ("OBR", 24, 1)],
    "station_name": [("IPC", 7, 1)],
    "location": [("IPC", 8, 1)],
    "description": [("OBR", 4, 5), ("OBR", 4, 2)],
}
STATION: list[Path] = [("IPC", 9, 1), ("ORC", 18, 1), ("OBR", 21, 1)]
START: list[Path] = [("TQ1", 7, 1), ("ORC", 7, 4), ("OBR", 27, 4), ("OBR", 36, 1)]
PRIORITY_PATHS: list[Path] = [("TQ1", 9, 1), ("ORC", 7, 6), ("OBR", 27, 6)]
PRIORITY = {"S": "STAT", "A": "HIGH", "P": "HIGH", "C": "HIGH", "R": "ROUTINE", "T": "MEDIUM"}
SEX = {"M": "M", "F": "F", "O": "O", "A": "O", "N": "O", "U": "", DELETE: ""}


class _Group:
    """The segments of one order group, by name."""

    def __init__(self, segments: list[Segment]) -> None:
        self._by_name = {segment.name: segment for segment in reversed(segments)}

    def __getitem__(self, name: str) -> Segment | None:
        return self._by_name.get(name)

    def value(self, paths: list[Path]) -> str:
        return self.found(paths)[1]

    def found(self, paths: list[Path]) -> tuple[str, str]:
        """(where, value) of the first path that has one: ("ORC-7", "20260705"); two empty strings without."""
        for name, number, component in paths:
            segment = self._by_name.get(name)
            if segment and (value := segment.get(number, component)) and value != DELETE:
                return f"{name}-{number}", value
        return "", ""

    def table(self, table: Mapping[str, list[Path]]) -> dict[str, str]:
        return {name: self.value(paths) for name, paths in table.items()}


def person_name(repetition: Repetition) -> str:
    """XPN/XCN's family^given^middle^suffix^prefix^degree as DICOM PN family^given^middle^prefix^suffix degree."""
    return _pn([repetition.get(number) for number in range(1, 7)])


def _pn(parts: list[str]) -> str:
    family, given, middle, suffix, prefix, degree = (part.replace("=", " ").replace("^", " ") for part in parts)
    return "^".join([family, given, middle, prefix, " ".join(filter(None, (suffix, degree)))]).rstrip("^")


def physician(segment: Segment | None, number: int) -> str:
    """An XCN's name (its first component is an id); empty when absent."""
    repetitions = segment.repetitions(number) if segment else []
    return _pn([repetitions[0].get(component) for component in range(2, 8)]) if repetitions else ""


def to_patient(message: Message) -> PatientData:
    """PID. Raises Malformed when the identifier cannot be used."""
    pid = message.first("PID")
    if pid is None:
        raise Malformed("PID", "the segment is missing", 100)
    identifiers = [_identifier(each) for each in pid.repetitions(3) if each.get(1)]
    if not identifiers or any(len(each.value) > 64 for each in identifiers):
        raise Malformed("PID-3", "the identifier is empty or longer than 64 characters", 102)
    names = pid.repetitions(5)
    born = pid.get(7)
    evn = message.first("EVN")
    return PatientData(
        identifiers=identifiers,
        name=person_name(names[0]) if names and pid.raw(5) != DELETE else None,
        birth_date=_birth_date(born) if born else None,
        sex=SEX.get(pid.get(8).upper()) if pid.get(8) else None,
        at=(parse_time(evn.get(2)) if evn else None) or message.sent_at,
        leads=message.message_type.startswith("ADT"),
    )


def _identifier(cx: Repetition) -> IdentifierData:
    return IdentifierData(
        value=cx.get(1).strip(),
        namespace=cx.get(4, 1),
        universal_id=cx.get(4, 2),
        universal_id_type=cx.get(4, 3),
        type_code=cx.get(5),
    )


def _birth_date(text: str) -> date | Literal[""] | None:
    """PID-7, its first eight digits: a date without a zone, never shifted."""
    if text == DELETE:
        return ""
    if not re.match(r"\d{8}", text, re.ASCII):
        # Some senders know the year only: what we know stands.
        if re.fullmatch(r"\d{4}(\d\d)?", text, re.ASCII):
            return None
        raise Malformed("PID-7", "the birth date is no date")
    try:
        return datetime.strptime(text[:8], "%Y%m%d").date()  # noqa: DTZ007  a birth date has no zone
    except ValueError:
        raise Malformed("PID-7", "the birth date is no date") from None


def to_visit(message: Message) -> VisitData:
    pv1, pid = message.first("PV1"), message.first("PID")
    number = (pv1.get(19) if pv1 else "") or (pid.get(18) if pid else "")
    if pv1 is None:
        return VisitData(visit_number=number)
    location = pv1.repetitions(3)
    return VisitData(
        visit_number=number,
        patient_class=pv1.get(2),
        location=" ".join(filter(None, (location[0].get(n) for n in (1, 2, 3)))) if location else "",
        attending_physician=physician(pv1, 7),
        referring_physician=physician(pv1, 8),
        ambulatory_status=pv1.get(15),
        admitted_at=parse_time(pv1.get(44)),
    )


def to_order(message: Message, segments: list[Segment]) -> OrderData:
    """One ORC group. Raises Malformed when it cannot be placed."""
    group = _Group(segments)
    if group["ZDS"] is None and (zds := message.first("ZDS")) and len(message.groups("ORC")) == 1:
        group = _Group([*segments, zds])
    values = group.table(ORDER)
    if len(values["accession_number"]) > 16:
        raise Malformed("OBR-18", "the accession number is longer than 16 characters")
    if not any(order_numbers(segments)):
        raise Malformed("ORC-2", "neither a placer nor a filler order number is given", 101)
    pv1 = message.first("PV1")
    return OrderData(
        **values,
        priority=PRIORITY.get(group.value(PRIORITY_PATHS), ""),
        requesting_physician=physician(group["ORC"], 12) or physician(group["OBR"], 16),
        referring_physician=physician(pv1, 8),
        at=parse_time(group.value([("ORC", 9, 1)])) or message.sent_at,
        procedures=[_procedure(group, values)] if group["OBR"] else [],
    )


def order_numbers(segments: list[Segment]) -> tuple[str, str]:
    """Placer and filler order number of an ORC group; empty where there is none."""
    group = _Group(segments)
    return group.value(ORDER["placer_order_number"]), group.value(ORDER["filler_order_number"])


def _procedure(group: _Group, order: Mapping[str, str]) -> ProcedureData:
    values = group.table(PROCEDURE)
    # RAD-2 orders lack the filler's ids; what identifies the order then identifies its procedure and step too.
    fallback = order["accession_number"] or order["filler_order_number"] or order["placer_order_number"]
    values["requested_procedure_id"] = (values["requested_procedure_id"] or fallback)[:64]
    day, clock = _start(*group.found(START))
    stations = group.value(STATION)
    step = group.table(STEP)
    code = group["OBR"].get(4, 4) if group["OBR"] else ""
    protocol = [code, group.value([("OBR", 4, 6)]), group.value([("OBR", 4, 5)])]
    step["sps_id"] = (step["sps_id"] or values["requested_procedure_id"])[:64]
    return ProcedureData(
        **values,
        steps=[
            StepData(
                **step,
                station_ae_titles=[stations[:16]] if stations else [],
                start_date=day,
                start_time=clock,
                performing_physician=physician(group["OBR"], 34),
                protocol_codes=[protocol] if code else [],
            )
        ],
    )


def _start(where: str, text: str) -> tuple[date | None, time | None]:
    """The wall clock as sent, without its zone: that is what a modality matches."""
    if not text:
        return None, None
    found = re.fullmatch(r"(\d{8})(\d\d(?:\d\d){0,2})?(?:\.\d+)?(?:[+-]\d{4})?", text.strip(), re.ASCII)
    if found is None:
        raise Malformed(where, "the start is no date and time")
    try:
        day = datetime.strptime(found[1], "%Y%m%d").date()  # noqa: DTZ007  wall clock
        clock = datetime.strptime(found[2].ljust(6, "0"), "%H%M%S").time() if found[2] else None  # noqa: DTZ007
    except ValueError:
        raise Malformed(where, "the start is no date and time") from None
    return day, clock


# (ORC-1, ORC-5) -> what to do; "*" stands for any ORC-5. More exact rows win.
CONTROL: Mapping[tuple[str, str], str] = {
    ("NW", "*"): "place",
    ("XO", "*"): "place",
    ("XX", "*"): "place",
    ("XO", "CM"): "step.completed",
    ("CA", "*"): "canceled",
    ("OC", "*"): "canceled",
    ("DC", "*"): "discontinued",
    ("OD", "*"): "discontinued",
    ("HD", "*"): "held",
    ("OH", "*"): "held",
    ("RL", "*"): "released",
    ("SC", "IP"): "step.started",
    ("SC", "CM"): "step.completed",
    ("SC", "A"): "step.completed",
    ("SC", "CA"): "canceled",
    ("SC", "DC"): "discontinued",
    ("SC", "HD"): "held",
    ("SC", "SC"): "place",
}


def control_of(segment: Segment) -> str:
    """What an ORC asks for. Raises Malformed for a pair that no row accepts."""
    pair = (segment.get(1).upper(), segment.get(5).upper())
    action = CONTROL.get(pair) or CONTROL.get((pair[0], "*"))
    if action is None:
        raise Malformed(
            "ORC-1", f"the order control {pair[0][:4]} with status {pair[1][:4] or 'empty'} is not mapped", 103
        )
    return action
