"""The three houses of the hospital: who numbers what, which applications speak for them, which machines stand there."""

from dataclasses import dataclass


@dataclass(frozen=True)
class House:
    """One site. Each house numbers its own patients and orders, and has its own HIS and RIS.

    The formats take `{tail}`, which no other exam and no other run has. Patient ids of NORTH and SOUTH are numbered
    alike, so that the same number is another person in the other house: only with its issuer is an id an identity.
    """

    code: str
    name: str
    issuer: str
    facility: str
    """MSH-4."""
    his: str
    ris: str
    """MSH-3 of who speaks of patients and of who speaks of orders."""
    patient_id: str
    accession_number: str
    placer_order_number: str
    filler_order_number: str
    requested_procedure_id: str
    sps_id: str


@dataclass(frozen=True)
class Station:
    """One machine, with the AE title that it calls with and is scheduled by."""

    ae_title: str
    modality: str
    house: House
    portable: bool = False


NORTH = House(
    "NORTH", "North Hospital", "NORTH", "NORTH", "HIS", "RIS",
    "0{tail}", "A{tail}", "P{tail}", "F{tail}", "R{tail}", "S{tail}",
)  # fmt: skip
SOUTH = House(
    "SOUTH", "South Clinic", "SOUTH", "SOUTH_CLINIC", "ADMISSION", "RADSYS",
    "0{tail}", "{tail}S", "PL-{tail}", "{tail}-1", "{tail}P", "{tail}T",
)  # fmt: skip
HARBOR = House(
    "HARBOR", "Harbor Imaging Center", "HARBOR", "HARBOR", "PRACTICE", "PRACTICE_RIS",
    "000{tail}H", "H{tail}", "{tail}", "H/{tail}", "Q{tail}", "T{tail}",
)  # fmt: skip
HOUSES = (NORTH, SOUTH, HARBOR)

STATIONS = (
    Station("CT_NORTH", "CT", NORTH),
    Station("MR_NORTH", "MR", NORTH),
    Station("DX_NORTH", "DX", NORTH),
    Station("DX_NORTH_WARD", "DX", NORTH, portable=True),
    Station("NM_NORTH", "NM", NORTH),
    Station("CT_SOUTH", "CT", SOUTH),
    Station("CR_SOUTH", "CR", SOUTH),
    Station("US_SOUTH", "US", SOUTH),
    Station("MG_SOUTH", "MG", SOUTH),
    Station("MR_HARBOR", "MR", HARBOR),
    Station("XA_HARBOR", "XA", HARBOR),
    Station("US_HARBOR", "US", HARBOR),
)
