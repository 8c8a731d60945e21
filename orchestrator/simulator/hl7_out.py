"""The hospital's HL7 messages, built by hand as a HIS and a RIS would.

Deliberately no library and nothing of the product's: what both sides read from one table, neither can get wrong.
"""

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
                3: "NORTH",
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


def _pid(person: Person) -> str:
    name = "^".join(map(escape, (person.family, person.given, person.middle, "", person.prefix))).rstrip("^")
    return _segment(
        "PID",
        {
            1: "1",
            3: f"{escape(person.patient_id)}^^^{person.issuer}^PI",
            5: name,
            7: person.birth_date,
            8: person.sex,
        },
    )


def _pv1(exam: Exam, at: datetime) -> str:
    return _segment(
        "PV1",
        {
            1: "1",
            2: "I" if exam.inpatient else "O",
            3: "WARD3^12^1^NORTH" if exam.inpatient else "RAD^^^NORTH",
            8: "4711^Ordóñez^Pilar^^^Dr.",
            19: f"{exam.visit_number}^^^NORTH^VN",
            44: _stamp(at),
        },
    )


def registration(header: Header, exam: Exam, person: Person) -> str:
    """ADT^A01 (admit), ADT^A04 (register) or ADT^A08 (update), as the header says, about `person`."""
    event = header.message_type.split("^")[1]
    evn = _segment("EVN", {1: event, 2: _stamp(header.at)})
    return "\r".join((header.segment(), evn, _pid(person), _pv1(exam, header.at))) + "\r"


def order(header: Header, exam: Exam, person: Person, asked: Order, control: str) -> str:
    """ORM^O01 from the order filler (RAD-4, RAD-13): `control` is ORC-1, one of NW, XO, CA."""
    start, procedure = _stamp(asked.start), asked.procedure
    placer, filler = f"{asked.placer_order_number}^HIS", f"{asked.filler_order_number}^RIS"
    physician = "4711^Ordóñez^Pilar^^^Dr."
    orc = {
        1: control,
        2: placer,
        3: filler,
        5: "CA" if control == "CA" else "SC",
        7: f"1^^^{start}^^{asked.priority}",
        9: _stamp(header.at),
        12: physician,
        18: f"{procedure.station}^^L",
    }
    code = f"{procedure.code}^{escape(procedure.meaning)}^{CODING_SCHEME}"
    obr = {
        1: "1",
        2: placer,
        3: filler,
        4: f"{code}^{code}",
        16: physician,
        18: asked.accession_number,
        19: asked.requested_procedure_id,
        20: asked.sps_id,
        24: procedure.modality,
        27: f"1^^^{start}^^{asked.priority}",
        44: code,
    }
    segments = [header.segment(), _pid(person), _pv1(exam, header.at), _segment("ORC", orc), _segment("OBR", obr)]
    if asked.study_instance_uid:
        segments.append(_segment("ZDS", {1: f"{asked.study_instance_uid}^^RIS^DICOM"}))
    return "\r".join(segments) + "\r"
