"""HL7 fields -> ours, as tables (IHE RAD-4; the DICOM side of each is in docs/conformance.md)."""

import re
from collections.abc import Mapping
from datetime import date, time
from typing import Literal

from orchestrator.hl7.messages import Malformed, Message, Repetition, Segment
from orchestrator.services.orders import OrderData, ProcedureData, StepData
from orchestrator.services.patients import IdentifierData, PatientData
from orchestrator.services.visits import VisitData

DELETE = '""'
# What these say of a known patient is meant to change it.
_UPDATES = ("ADT^A08", "ADT^A31")

# (segment, field, component): the first that has a value wins.
Path = tuple[str, int, int]
PLACER_NUMBER: list[Path] = [("ORC", 2, 1), ("OBR", 2, 1)]
FILLER_NUMBER: list[Path] = [("ORC", 3, 1), ("OBR", 3, 1)]
ACCESSION_NUMBER: list[Path] = [("IPC", 1, 1), ("OBR", 18, 1)]
ORDER: Mapping[str, list[Path]] = {
    "placer_issuer": [("ORC", 2, 2), ("OBR", 2, 2)],
    "filler_issuer": [("ORC", 3, 2), ("OBR", 3, 2)],
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
# Code, scheme and meaning.
PROTOCOL: list[list[Path]] = [[("OBR", 4, 4)], [("OBR", 4, 6)], [("OBR", 4, 5)]]
SAID_AT: list[Path] = [("ORC", 9, 1)]
PRIORITY_PATHS: list[Path] = [("TQ1", 9, 1), ("ORC", 7, 6), ("OBR", 27, 6)]
PRIORITY = {"S": "STAT", "A": "HIGH", "P": "HIGH", "C": "HIGH", "R": "ROUTINE", "T": "MEDIUM"}
# U (unknown) takes nothing away from who knows.
SEX = {"M": "M", "F": "F", "O": "O", "A": "O", "N": "O", DELETE: ""}
_LONGEST_NUMBER = 64


class Part:
    """What an ORC says of an order, with one OBR and what follows that: the segments by name."""

    def __init__(self, segments: list[Segment]) -> None:
        self._by_name = {segment.name: segment for segment in reversed(segments)}
        self._order_numbers: tuple[str, str] | None = None

    def __getitem__(self, name: str) -> Segment | None:
        return self._by_name.get(name)

    def value(self, paths: list[Path]) -> str:
        """The value of the first path that has one; empty without."""
        by_name = self._by_name
        for name, number, component in paths:
            segment = by_name.get(name)
            if segment is not None and (value := segment.get(number, component)) and value != DELETE:
                return value
        return ""

    def found(self, paths: list[Path]) -> tuple[str, str]:
        """(where, value) of the first path that has one: ("ORC-7", "20260705"); two empty strings without."""
        for path in paths:
            if value := self.value([path]):
                return f"{path[0]}-{path[1]}", value
        return "", ""

    def table(self, table: Mapping[str, list[Path]]) -> dict[str, str]:
        """The values of a table's rows, but for those without one."""
        by_name, found = self._by_name, {}
        for row, paths in table.items():
            for name, number, component in paths:
                segment = by_name.get(name)
                if segment is not None and (value := segment.get(number, component)) and value != DELETE:
                    found[row] = value
                    break
        return found

    @property
    def order_numbers(self) -> tuple[str, str]:
        """Placer and filler order number; empty where there is none."""
        if self._order_numbers is None:
            self._order_numbers = self.value(PLACER_NUMBER), self.value(FILLER_NUMBER)
        return self._order_numbers

    @property
    def names(self) -> tuple[str, str]:
        """Requested procedure id and scheduled step id, where the part names one."""
        return self.value(PROCEDURE["requested_procedure_id"]), self.value(STEP["sps_id"])


def orders_of(message: Message) -> list[list[Part]]:
    """The orders that a message speaks of, each with its parts: those of one order number and one order control."""
    found: dict[tuple[str, ...], list[Part]] = {}
    for part in parts_of(message):
        orc = part["ORC"]
        about = (*part.order_numbers, orc.get(1), orc.get(5)) if orc else ()
        found.setdefault(about, []).append(part)
    return list(found.values())


def parts_of(message: Message) -> list[Part]:
    """One for each OBR, or for an ORC without any."""
    groups: list[list[Segment]] = []
    head: list[Segment] | None = None
    for segment in message.segments():
        if segment.name == "ORC":
            groups.append([])
            head = None
        elif segment.name == "OBR" and groups:
            if head is None:
                head = groups[-1].copy()
            else:
                groups.append(head.copy())
        if groups:
            groups[-1].append(segment)
    parts = [Part(each) for each in groups]
    if message.first("ZDS") is None:
        return parts
    # A ZDS at the end of the message is said of the whole requested procedure, however many steps that has (RAD-4).
    zds = list(message.segments("ZDS"))
    if len(zds) == 1 and len({part.names[0] for part in parts}) == 1:
        return [Part([*each, zds[0]]) for each in groups]
    return parts


def person_name(repetition: Repetition) -> str:
    """XPN/XCN's family^given^middle^suffix^prefix^degree as DICOM PN family^given^middle^prefix^suffix degree."""
    return _pn(repetition.first(6))


def _pn(parts: list[str]) -> str:
    family, given, middle, suffix, prefix, degree = [
        "" if part == DELETE else part.replace("=", " ").replace("^", " ") for part in parts
    ]
    suffix = f"{suffix} {degree}" if suffix and degree else suffix or degree
    return "^".join([family, given, middle, prefix, suffix]).rstrip("^")


def physician(segment: Segment | None, number: int) -> str:
    """An XCN's name (its first component is an id); empty when absent."""
    repetitions = segment.repetitions(number) if segment else []
    return _pn(repetitions[0].first(7)[1:]) if repetitions else ""


def to_patient(message: Message) -> PatientData:
    """PID. Raises Malformed when the identifier cannot be used."""
    pid = message.first("PID")
    if pid is None:
        raise Malformed("PID", "the segment is missing", 100)
    identifiers = identifiers_of(pid)
    if not identifiers or not all(map(_is_usable, identifiers)):
        raise Malformed("PID-3", "an identifier or its assigning authority is empty, too long or no plain text", 102)
    born, sex = pid.get(7), pid.get(8)
    evn = message.first("EVN")
    return PatientData(
        identifiers=identifiers,
        name=next(filter(None, map(person_name, pid.repetitions(5))), None),
        birth_date=_birth_date(born) if born else None,
        sex=SEX.get(sex.upper()) if sex else None,
        at=(message.moment(evn.get(2)) if evn else None) or message.sent_at,
        leads=message.message_type.startswith("ADT"),
        updates=message.message_type in _UPDATES,
    )


def identifiers_of(pid: Segment) -> list[IdentifierData]:
    """PID-3, without the repetitions that name nobody."""
    identifiers = [_identifier(cx) for cx in pid.repetitions(3)]
    return [each for each in identifiers if each.value not in ("", DELETE)]


def _is_usable(identifier: IdentifierData) -> bool:
    """As long as a Patient ID and its issuer may be, and text that can be typed in."""
    return (
        len(identifier.value) <= 64
        and len(identifier.namespace) <= 64
        and len(identifier.universal_id) <= 199
        and (identifier.value + identifier.namespace + identifier.universal_id).isprintable()
    )


def _identifier(cx: Repetition) -> IdentifierData:
    value, _, _, namespace, type_code = cx.first(5)
    return IdentifierData(
        value=value.strip(),
        namespace=namespace.strip(),
        universal_id=cx.get(4, 2).strip(),
        universal_id_type=cx.get(4, 3)[:16],
        type_code=type_code,
    )


_EIGHT_DIGITS = re.compile(r"\d{8}", re.ASCII)


def _birth_date(text: str) -> date | Literal[""] | None:
    """PID-7, its first eight digits: a date without a zone, never shifted."""
    if text == DELETE:
        return ""
    if not _EIGHT_DIGITS.match(text):
        # Some senders know the year only: what we know stands.
        if re.fullmatch(r"\d{4}(\d\d)?", text, re.ASCII):
            return None
        raise Malformed("PID-7", "the birth date is no date")
    try:
        return date.fromisoformat(text[:8])
    except ValueError:
        raise Malformed("PID-7", "the birth date is no date") from None


def to_visit(message: Message) -> VisitData:
    """PV1; two quotes say as little as nothing: where somebody is cannot be deleted."""
    pid, pv1 = message.first("PID"), message.first("PV1")
    number = _said(pv1, 19) or _said(pid, 18)
    if pv1 is None:
        return VisitData(visit_number=number)
    location = pv1.repetitions(3)
    places = (location[0].get(component) for component in (1, 2, 3)) if location else ()
    return VisitData(
        visit_number=number,
        patient_class=_said(pv1, 2),
        location=" ".join(each for each in places if each not in ("", DELETE)),
        attending_physician=physician(pv1, 7),
        referring_physician=physician(pv1, 8),
        ambulatory_status=_said(pv1, 15),
        admitted_at=message.moment(pv1.get(44)),
    )


def _said(segment: Segment | None, number: int) -> str:
    value = segment.get(number).strip() if segment else ""
    return "" if value == DELETE else value


def to_order(message: Message, parts: list[Part]) -> OrderData:
    """One order. Raises Malformed when it cannot be placed."""
    first = parts[0]
    accession_numbers = {value for part in parts if (value := part.value(ACCESSION_NUMBER))}
    if any(len(each) > 16 for each in accession_numbers):
        raise Malformed("OBR-18", "the accession number is longer than 16 characters")
    if len(accession_numbers) > 1:
        raise Malformed("OBR-18", "one order number has two accession numbers", 205)
    if not any(first.order_numbers):
        raise Malformed("ORC-2", "neither a placer nor a filler order number is given", 101)
    for number, value in zip((2, 3), first.order_numbers, strict=True):
        if len(value) > _LONGEST_NUMBER:
            raise Malformed(f"ORC-{number}", f"the order number is longer than {_LONGEST_NUMBER} characters")
    pv1 = message.first("PV1")
    placer, filler = first.order_numbers
    return OrderData(
        **first.table(ORDER),
        placer_order_number=placer,
        filler_order_number=filler,
        accession_number=next(iter(accession_numbers), ""),
        priority=PRIORITY.get(first.value(PRIORITY_PATHS), ""),
        requesting_physician=physician(first["ORC"], 12) or physician(first["OBR"], 16),
        referring_physician=physician(pv1, 8),
        at=message.moment(first.value(SAID_AT)) or message.sent_at,
        procedures=[_procedure(part) for part in parts if part["OBR"]],
    )


def _procedure(part: Part) -> ProcedureData:
    values = part.table(PROCEDURE)
    if (uid := values.get("study_instance_uid")) and (len(uid) > 64 or not re.fullmatch(r"[0-9]+(\.[0-9]+)*", uid)):
        raise Malformed("ZDS-1", "the Study Instance UID is no UID")
    day, clock = _start(*part.found(START))
    stations = part.value(STATION)
    protocol = [part.value(paths) for paths in PROTOCOL]
    return ProcedureData(
        **values,
        steps=[
            StepData(
                **part.table(STEP),
                station_ae_titles=[stations[:16]] if stations else [],
                start_date=day,
                start_time=clock,
                performing_physician=physician(part["OBR"], 34),
                protocol_codes=[protocol] if protocol[0] else [],
            )
        ],
    )


_WALL_CLOCK = re.compile(r"(\d{8})(?:(\d\d)(?:(\d\d)(\d\d)?)?)?(?:\.\d+)?(?:[+-]\d{4})?", re.ASCII)


def _start(where: str, text: str) -> tuple[date | None, time | None]:
    """The wall clock as sent, without its zone: that is what a modality matches."""
    if not text:
        return None, None
    found = _WALL_CLOCK.fullmatch(text.strip())
    if found is None:
        raise Malformed(where, "the start is no date and time")
    try:
        day = date.fromisoformat(found[1])
        hour, minute, second = found.groups("0")[1:]
        clock = time(int(hour), int(minute), int(second)) if found[2] else None
    except ValueError:
        raise Malformed(where, "the start is no date and time") from None
    return day, clock


# (ORC-1, ORC-5) -> what to do; "*" stands for any ORC-5, and more exact rows win. None: refused, it says two things.
CONTROL: Mapping[tuple[str, str], str | None] = {
    ("NW", "*"): "place",
    **{("NW", status): None for status in ("A", "CA", "CM", "DC")},
    **{(change, "*"): "place" for change in ("XO", "XX")},
    **{(change, status): "step.completed" for change in ("XO", "XX") for status in ("A", "CM")},
    **{(change, "CA"): "canceled" for change in ("XO", "XX")},
    **{(change, "DC"): "discontinued" for change in ("XO", "XX")},
    **{(change, "HD"): "held" for change in ("XO", "XX")},
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
    action = CONTROL[pair] if pair in CONTROL else CONTROL.get((pair[0], "*"))
    if action is None:
        raise Malformed(
            "ORC-1", f"the order control {pair[0][:4]} with status {pair[1][:4] or 'empty'} is not mapped", 103
        )
    return action
