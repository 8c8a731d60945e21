"""What may come of each fault: the one table that the judge reads, and the people at the queue."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum


class Hold(Enum):
    """What holding the study means, by the rule that images are matched by one order factor (Study Instance UID,
    accession number, step) and two patient factors (issuer with id; name with birth date), none of them conflicting.
    """

    UNEXPLAINED = "what arrives proves patient and order"
    FAIR = "what arrives may prove it or not, by how names are compared"
    NEEDED = "a match by itself would be a guess"


ABOUT_IMAGES = frozenset(
    {"unmatched_study", "patient_conflict", "ambiguous_match", "study_uid_conflict", "wrong_worklist_entry"}
)
"""Kinds of cases that ask whose images these are. Others may be open beside them, and ask something else."""

_NOBODY = frozenset[str]()
_NO_ORDER, _DIFFERS = frozenset({"unmatched_study"}), frozenset({"unmatched_study", "patient_conflict"})
_WRONG_ENTRY, _STEP = frozenset({"wrong_worklist_entry"}), frozenset({"mpps_conflict"})
_TWO_PATIENTS, _TOO_LATE = frozenset({"study_uid_conflict"}), frozenset({"already_delivered"})


@dataclass(frozen=True)
class Expected:
    """`kinds`: of the cases about the study or its messages that may be open. `reasons`: for which they may ask.

    Where nothing went wrong nobody is asked anything.
    """

    hold: Hold = Hold.UNEXPLAINED
    reasons: frozenset[str] = _NOBODY
    kinds: frozenset[str] = _NOBODY
    needs_merge: bool = False
    """Only the A40 proves whose images these are: once it is applied, a hold is a defect."""
    steps: frozenset[str] = frozenset({"COMPLETED"})
    """What may become of the scheduled steps, once the images are matched."""

    @property
    def holding_is_fair(self) -> bool:
        return self.hold is not Hold.UNEXPLAINED

    def explains(self, kind: str, reason_code: str) -> bool:
        """Whether a case may be open about the study."""
        return kind in self.kinds and (kind in _TOO_LATE or reason_code in self.reasons)


def _needed(reasons: set[str], kinds: frozenset[str]) -> Expected:
    return Expected(Hold.NEEDED, frozenset(reasons), kinds)


NOTHING = Expected()
_ENTRY = {"ACCESSION_DIFFERS", "OTHER_STUDY_UID", "PATIENT_ID_CONFLICT", "NAME_DIFFERS", "BIRTH_DATE_DIFFERS"}
_GARBLED = Expected(Hold.FAIR, frozenset({"NAME_DIFFERS"}), _DIFFERS)
_MERGED_LATER = replace(NOTHING, kinds=_TOO_LATE)
"""Delivered under the record of before, then under that of the A40: a person looks what the archive kept."""

ANOTHER_DAY = _needed({"OTHER_DAY"}, _NO_ORDER)
"""Whatever the fault: images of another day than the order's conflict with it."""

EXPECTED: Mapping[str, Expected] = {
    "typing_error": _needed({"NAME_DIFFERS"}, _DIFFERS),
    "swapped_name": NOTHING,
    "maiden_name": _needed({"NAME_DIFFERS"}, _DIFFERS),
    "transliteration": _GARBLED,
    "lost_zeros": _needed({"PATIENT_ID_CONFLICT"}, _DIFFERS),
    "no_issuer": NOTHING,
    "wrong_accession": _needed({"ACCESSION_DIFFERS"}, _NO_ORDER),
    "missing_accession": _needed({"NO_ORDER_FACTOR"}, _NO_ORDER),
    "erased_accession": NOTHING,
    "wrong_entry_noticed": _needed({"WRONG_WORKLIST_ENTRY"}, _WRONG_ENTRY | _TOO_LATE),
    "wrong_entry_edited": _needed(_ENTRY | {"patient_differs"}, _DIFFERS | _STEP),
    "other_order_noticed": _needed({"WRONG_WORKLIST_ENTRY"}, _WRONG_ENTRY | _TOO_LATE),
    "other_order_edited": _needed({"ACCESSION_DIFFERS", "OTHER_STUDY_UID", "order_differs"}, _NO_ORDER | _STEP),
    "no_order": _needed({"NO_ORDER", "NO_ORDER_FACTOR"}, _NO_ORDER),
    "order_after_images": NOTHING,
    "order_adopts_study": NOTHING,
    "temporary_identity": _MERGED_LATER,
    "duplicate_registration": replace(_needed({"PATIENT_ID_CONFLICT"}, _DIFFERS), needs_merge=True),
    "merge_in_acquisition": _MERGED_LATER,
    "no_issuer_in_messages": NOTHING,
    "message_twice": NOTHING,
    "message_anew": NOTHING,
    "order_before_registration": NOTHING,
    "late_update": NOTHING,
    "late_new_order": NOTHING,
    "message_charset": replace(NOTHING, reasons=frozenset({"MSH-18"}), kinds=frozenset({"hl7_rejected"})),
    "mpps_never_sent": NOTHING,
    "mpps_never_finished": replace(NOTHING, steps=frozenset({"STARTED"})),
    "study_twice": NOTHING,
    "half_sent": NOTHING,
    "second_patient": _needed({"TWO_PATIENTS", "patient_differs"}, _TWO_PATIENTS | _STEP | _TOO_LATE),
    # Where it shows another day than the order's the judge sees that in what was sent.
    "clock_drift": NOTHING,
    "clock_reset": ANOTHER_DAY,
    "charset_wrong": _GARBLED,
    "charset_missing": _GARBLED,
}
