"""What is made up of one exam and one person, and how a message tells of them."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from uuid import UUID

from benchmarks.population.places import Place

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
HOURS = (1, 1, 1, 1, 1, 2, 6, 14, 20, 22, 22, 20, 14, 18, 20, 18, 14, 9, 6, 5, 4, 3, 2, 1)
# Modality -> how often, its exams, and how many instances a study has, from … to.
EXAMS: Mapping[str, tuple[int, tuple[str, ...], int, int]] = {
    "CR": (40, ("Chest PA", "Knee", "Hand", "Pelvis", "Spine", "Ankle"), 1, 4),
    "CT": (25, ("CT head", "CT chest", "CT abdomen", "CT angiography"), 10, 36),
    "MR": (12, ("MR brain", "MR knee", "MR spine", "MR liver"), 16, 44),
    "US": (15, ("US abdomen", "US thyroid", "US carotids"), 4, 14),
    "MG": (5, ("Mammography",), 4, 6),
    "XA": (2, ("Angiography",), 6, 16),
    "NM": (1, ("Bone scan",), 2, 8),
}
HELD = (("unmatched_study", "NO_ORDER_FACTOR", 50), ("patient_conflict", "NAME_DIFFERS", 25),
         ("patient_conflict", "PATIENT_ID_CONFLICT", 10), ("ambiguous_match", "TWO_ORDERS_FIT", 10),
         ("wrong_worklist_entry", "WRONG_WORKLIST_ENTRY", 5))  # fmt: skip
OTHER = (("delivery_failed", "NOT_ALL_SENT", "1 object was not taken."), ("no_route", "NO_RULE", "No rule fits."),
          ("incomplete_study", "COUNT", "Fewer objects came than the modality says it made."),
          ("duplicate_instance", "OTHER_CONTENT", "An instance came again with other content."))  # fmt: skip


@dataclass(frozen=True)
class Size:
    studies: int
    open_cases: int


@dataclass(frozen=True)
class Person:
    """A patient as the rows of others need them."""

    pk: int
    name: str
    born: dt.date
    sex: str
    mrn: str


@dataclass(frozen=True)
class Exam:
    """One study to be, with its order."""

    at: dt.datetime
    place: Place
    person: Person
    station: str
    modality: str
    description: str
    accession: str
    uid: str
    order: int
    procedure: int
    step: int


def moment(at: dt.datetime) -> str:
    """UTC without its zone, as both databases take it."""
    return str(at)


def new_uid(random: Random) -> str:
    return UUID(int=random.getrandbits(128), version=4).hex


def hl7(
    kind: str, at: dt.datetime, place: Place, person: Person, exam: Exam | None, number: int
) -> tuple[bytes, bytes]:
    head = (
        f"MSH|^~\\&|RIS_{place.code}|{place.code}|FIDUCIAL|MAIN|{at:%Y%m%d%H%M%S}||{kind}|{place.code}{number}|P|2.5.1"
    )
    lines: Sequence[str] = [
        head,
        f"PID|1||{person.mrn}^^^{place.code}^MR||{person.name}||{person.born:%Y%m%d}|{person.sex}",
        "PV1|1|O|OUT",
    ]
    if exam:
        lines = [
            *lines,
            f"ORC|NW|P{exam.order}|F{exam.order}|||||||{at:%Y%m%d%H%M%S}",
            f"OBR|1|P{exam.order}|F{exam.order}|{exam.modality}1^{exam.description}^L||||||||||||||{exam.accession}",
            f"ZDS|{exam.uid}^FIDUCIAL^Application^DICOM",
        ]
    return "\r".join(lines).encode(), f"{head}\rMSA|AA|{place.code}{number}".encode()
