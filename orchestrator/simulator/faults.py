"""What goes wrong in a hospital, each kind taken from life, and whether holding the study is a fair answer to it."""

from dataclasses import dataclass
from enum import Enum
from random import Random


@dataclass(frozen=True)
class _Kind:
    label: str
    holding_is_fair: bool


class Fault(Enum):
    """One thing that goes wrong in one exam.

    `holding_is_fair` False means that what arrives at Fiducial still suffices to match the study by itself:
    then a hold is counted as unexplained.
    """

    TYPED_IN = _Kind("patient typed in with a slip, worklist not used", True)
    MISSING_ACCESSION = _Kind("patient typed in rightly, no accession number, worklist not used", True)
    ERASED_ACCESSION = _Kind("worklist used, accession number lost at the console", False)
    NO_ORDER = _Kind("emergency: never an order", True)
    WRONG_ENTRY_NOTICED = _Kind("another patient's worklist entry chosen, MPPS discontinued with 110514", True)
    WRONG_ENTRY_EDITED = _Kind("another patient's worklist entry chosen, only the patient typed over", True)
    MPPS_NEVER_SENT = _Kind("no MPPS at all", False)
    MPPS_NEVER_FINISHED = _Kind("MPPS begun and never finished", False)
    ORDER_AFTER_IMAGES = _Kind("order arrives after the images, which carry its accession number", False)
    ORDER_ADOPTS_STUDY = _Kind("order arrives after the images, with their Study Instance UID", False)
    MESSAGE_TWICE = _Kind("every HL7 message sent twice", False)
    STUDY_TWICE = _Kind("the whole study sent again", False)

    @property
    def label(self) -> str:
        return self.value.label

    @property
    def holding_is_fair(self) -> bool:
        return self.value.holding_is_fair

    @property
    def order_comes_late(self) -> bool:
        return self in (Fault.ORDER_AFTER_IMAGES, Fault.ORDER_ADOPTS_STUDY)

    @property
    def takes_a_wrong_entry(self) -> bool:
        return self in (Fault.WRONG_ENTRY_NOTICED, Fault.WRONG_ENTRY_EDITED)


def draw(rng: Random, share: float) -> Fault | None:
    """A fault for one exam with the probability `share` (0 to 1), every kind equally often."""
    # Both numbers are always drawn, so that another share changes which exams fail and nothing else about them.
    happens, fault = rng.random() < share, rng.choice(list(Fault))
    return fault if happens else None
