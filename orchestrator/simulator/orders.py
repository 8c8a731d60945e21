"""What an exam is: who comes, what was ordered, where it is done. The truth, whatever messages and images say of it."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from random import Random
from typing import TYPE_CHECKING

from orchestrator.simulator.people import Person
from orchestrator.simulator.sites import House, Station

if TYPE_CHECKING:
    from orchestrator.simulator.faults import Fault

CODING_SCHEME = "99NORTH"
"""Private schemes begin with 99 (PS3.3 §8.2)."""


@dataclass(frozen=True)
class Procedure:
    """One row of the hospital's procedure catalogue."""

    code: str
    meaning: str
    modality: str
    body_part: str
    laterality: str = ""


CATALOGUE = (
    Procedure("CTHEAD", "CT head without contrast", "CT", "HEAD"),
    Procedure("CTCHEST", "CT chest with contrast", "CT", "CHEST"),
    Procedure("CTABD", "CT abdomen with contrast", "CT", "ABDOMEN"),
    Procedure("MRBRAIN", "MR brain", "MR", "BRAIN"),
    Procedure("MRKNEE", "MR left knee", "MR", "KNEE", "L"),
    Procedure("CRCHEST", "Chest two views", "CR", "CHEST"),
    Procedure("CRHAND", "Right hand two views", "CR", "HAND", "R"),
    Procedure("DXCHEST", "Chest digital two views", "DX", "CHEST"),
    Procedure("DXANKLE", "Left ankle two views", "DX", "ANKLE", "L"),
    Procedure("USABD", "Ultrasound abdomen", "US", "ABDOMEN"),
    Procedure("USHEART", "Echocardiography", "US", "HEART"),
    Procedure("MGSCREEN", "Screening mammography", "MG", "BREAST"),
    Procedure("XACORO", "Coronary angiography", "XA", "HEART"),
    Procedure("NMBONE", "Bone scintigraphy", "NM", "WHOLEBODY"),
)


class Arrival(Enum):
    """How a patient comes: HL7 table 0004 (PV1-2), and where they wait (PV1-3)."""

    OUTPATIENT = ("O", "RAD")
    WALK_IN = ("O", "WALKIN")
    WARD = ("I", "WARD3^12^1")
    PORTABLE = ("I", "ICU^2^1")
    EMERGENCY = ("E", "ER")

    @property
    def patient_class(self) -> str:
        return self.value[0]

    @property
    def location(self) -> str:
        return self.value[1]


@dataclass(frozen=True)
class Order:
    """One scheduled step, with the requested procedure and the order that it belongs to.

    An order of several procedures, or a procedure of several steps, is several of these that share the numbers.
    `study_instance_uid` is empty when the RIS sends none: then the worklist tells the modality.
    """

    placer_order_number: str
    filler_order_number: str
    accession_number: str
    requested_procedure_id: str
    sps_id: str
    procedure: Procedure
    station: Station
    start: datetime
    priority: str
    study_instance_uid: str


@dataclass(frozen=True)
class Exam:
    """What will happen to one patient. `person` and `order` are the truth, whatever the messages say on the way."""

    number: int
    person: Person
    visit_number: str
    arrival: Arrival
    order: Order
    fault: "Fault"
    further: tuple[Order, ...] = ()
    """Other steps of the same order: of the same procedure (same study) or of another one (a study of its own)."""
    group: tuple[Order, ...] = ()
    """Other orders of the patient that the same images satisfy."""
    appended: bool = False
    """More images are made of the same step later, as a second performed step."""
    registered_as: Person | None = None
    """How registration first spelt the person, until an A08 corrects it."""
    subsumed: Person | None = None
    """Another record of the person, under which all is ordered, until an A40 merges it into `person`."""
    ordered_as: Order | None = None
    """The order before an XO changed it."""
    canceled: Order | None = None
    """An order that is canceled before the right one is placed."""
    neighbour: "Exam | None" = None
    """The other patient, or the other order of this one, whose worklist entry plays a part."""
    past: bool = False
    """History: the exam was done at its scheduled time, not now."""

    @property
    def label(self) -> str:
        """Names the exam in a log line: no name, no patient id."""
        return f"exam {self.number} {self.order.station.ae_title} {self.order.accession_number}"

    @property
    def house(self) -> House:
        return self.order.station.house

    @property
    def steps(self) -> tuple[Order, ...]:
        """All steps that are performed, in turn."""
        return (self.order, *self.further)

    @property
    def known_as(self) -> Person:
        """The record under which the order is placed."""
        return self.subsumed or self.person


def new_uid(rng: Random) -> str:
    """A UID under 2.25, made from a UUID (PS3.5 §B.2)."""
    return f"2.25.{uuid.UUID(int=rng.getrandbits(128), version=4).int}"
