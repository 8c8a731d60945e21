"""The hospital's HL7 messages, built by hand as a HIS and a RIS would.

Deliberately no library and nothing of the product's: what both sides read from one table, neither can get wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.simulator.orders import CODING_SCHEME, Exam, Order
from orchestrator.simulator.people import Person

_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\"})


def escape(text: str) -> str:
    """HL7 v2 §2.7: the delimiters inside a value."""
    return text.translate(_ESCAPES)


def _stamp(when: datetime) -> str:
    return when.strftime("%Y%m%d%H%M%S")


def _segment(name: str, fields: dict[int, str]) -> str:
    """A segment from its numbered fields; those left out are empty (which means: unchanged)."""
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])


@dataclass(frozen=True)
class Header:
    """Who says what, when: everything of MSH that differs from message to message."""

    application: str
    facility: str
    message_type: str
    control_id: str
    at: datetime

    def segment(self) -> str:
        # MSH-1 is the separator itself, so MSH-n stands at n - 1 here.
        return _segment(
            "MSH",
            {
                1: "^~\\&",
                2: self.application,
                3: self.facility,
                4: "FIDUCIAL",
                5: "FIDUCIAL",
                6: _stamp(self.at),
                8: self.message_type,
                9: self.control_id,
                10: "P",
                11: "2.5.1",
                17: "UNICODE UTF-8",
            },
        )


def _identifier(person: Person) -> str:
    """CX; without an assigning authority when the person's issuer is not said."""
    authority = f"^^^{person.issuer}" if person.issuer else "^^^"
    return f"{escape(person.patient_id)}{authority}^PI"


def _pid(person: Person) -> str:
    name = "^".join(map(escape, (person.family, person.given, person.middle, "", person.prefix))).rstrip("^")
    return _segment("PID", {1: "1", 3: _identifier(person), 5: name, 7: person.birth_date, 8: person.sex})


def _pv1(exam: Exam, at: datetime) -> str:
    facility = exam.house.facility
    point, _, bed = exam.arrival.location.partition("^")
    return _segment(
        "PV1",
        {
            1: "1",
            2: exam.arrival.patient_class,
            3: f"{point}^{bed}^{facility}" if bed else f"{point}^^^{facility}",
            8: "4711^Ordóñez^Pilar^^^Dr.",
            19: f"{exam.visit_number}^^^{facility}^VN",
            44: _stamp(at),
        },
    )


def registration(header: Header, exam: Exam, person: Person) -> str:
    """ADT^A01 (admit), ADT^A04 (register) or ADT^A08 (update), as the header says, about `person`."""
    segments = [header.segment(), _evn(header), _pid(person), _pv1(exam, header.at)]
    return "\r".join(segments) + "\r"


def merge(header: Header, surviving: Person, subsumed: Person) -> str:
    """ADT^A40: the record of MRG-1 lives on in that of PID-3 (HL7 v2.5.1 §3.3.40)."""
    segments = [header.segment(), _evn(header), _pid(surviving), _segment("MRG", {1: _identifier(subsumed)})]
    return "\r".join(segments) + "\r"


def _evn(header: Header) -> str:
    return _segment("EVN", {1: header.message_type.split("^")[1], 2: _stamp(header.at)})


def order(header: Header, exam: Exam, person: Person, steps: Sequence[Order], control: str) -> str:
    """ORM^O01 from the order filler (RAD-4, RAD-13): `control` is ORC-1, one of NW, XO, CA. One ORC group a step."""
    segments = [header.segment(), _pid(person), _pv1(exam, header.at)]
    for number, step in enumerate(steps, start=1):
        segments += _order_group(header, step, control, number)
    return "\r".join(segments) + "\r"


def _order_group(header: Header, asked: Order, control: str, number: int) -> list[str]:
    start, procedure, station = _stamp(asked.start), asked.procedure, asked.station
    house = station.house
    placer, filler = f"{asked.placer_order_number}^{house.his}", f"{asked.filler_order_number}^{house.ris}"
    physician = "4711^Ordóñez^Pilar^^^Dr."
    orc = {
        1: control,
        2: placer,
        3: filler,
        5: "CA" if control == "CA" else "SC",
        7: f"1^^^{start}^^{asked.priority}",
        9: _stamp(header.at),
        12: physician,
        18: f"{station.ae_title}^^L",
    }
    code = f"{procedure.code}^{escape(procedure.meaning)}^{CODING_SCHEME}"
    obr = {
        1: str(number),
        2: placer,
        3: filler,
        4: f"{code}^{code}",
        16: physician,
        18: asked.accession_number,
        19: asked.requested_procedure_id,
        20: asked.sps_id,
        24: station.modality,
        27: f"1^^^{start}^^{asked.priority}",
        44: code,
    }
    segments = [_segment("ORC", orc), _segment("OBR", obr)]
    if asked.study_instance_uid:
        segments.append(_segment("ZDS", {1: f"{asked.study_instance_uid}^^{house.ris}^DICOM"}))
    return segments


def report(header: Header, exam: Exam, person: Person, study_instance_uid: str, *, status: str, text: str) -> str:
    """ORU^R01 of the report system: `status` is OBR-25 and OBX-11, P preliminary, F final, C corrected."""
    asked = exam.order
    code = f"{asked.procedure.code}^{escape(asked.procedure.meaning)}^{CODING_SCHEME}"
    obr = {
        1: "1",
        2: asked.placer_order_number,
        3: asked.filler_order_number,
        4: code,
        7: _stamp(asked.start),
        18: asked.accession_number,
        22: _stamp(header.at),
        24: asked.station.modality,
        25: status,
    }
    report_code = "18748-4^Diagnostic imaging report^LN"
    segments = [
        header.segment(),
        _pid(person),
        _segment("OBR", obr),
        _segment("OBX", {1: "1", 2: "TX", 3: report_code, 5: escape(text), 11: status}),
        _segment("OBX", {1: "2", 2: "ST", 3: "113014^Study Instance UID^DCM", 5: study_instance_uid, 11: status}),
    ]
    return "\r".join(segments) + "\r"
