"""What each KPI means, in one precise paragraph: the page, the API and the tests stand on these words."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Definition:
    """One KPI. `target` is the default; a value in `unit`."""

    name: str
    label: str
    # Under the label, in a few words.
    sentence: str
    # Precisely: which events and rows count, by which clock, and how often.
    definition: str
    unit: str
    target: float
    # Whether more is better: else the target is a limit.
    more_is_better: bool
    # What is counted, for "no studies": a rate of nothing has no value.
    noun: str

    def reaches(self, value: float, target: float) -> bool:
        return value >= target if self.more_is_better else value <= target


_COUNTED = (
    "A study counts once, in the hour (by the clock of its site) in which one of its identity claims was first judged: "
    "its first event claim.matched, claim.held or claim.rejected. It is counted at the site, with the modality and the "
    "calling AE title of its first judged claim. Claims of images that need no order (priors, derived, returned) are "
    "never judged, so that a study of nothing else does not count; late and repeated images of a study do not count it "
    "again. "
)

DEFINITIONS: Mapping[str, Definition] = {
    each.name: each
    for each in (
        Definition(
            "auto_match_rate",
            "Matched without a person",
            "Studies whose every claim was matched by rule, of all studies judged",
            _COUNTED + "It was matched without a person when the last judgement of each of its claims is a match that "
            "Fiducial made by itself; a match by a person, by a remembered decision or by an order that a person "
            "created, a rejection, and a claim that is still held are not. The last judgement counts, so a past day "
            "moves: up when a late order settles what was held, down when a match is taken back. Test and rejected "
            "studies stay in the denominator.",
            "%",
            97.0,
            True,
            "studies",
        ),
        Definition(
            "exception_backlog",
            "Exceptions waiting",
            "Open at the end of the period, and the age that 90% stay under",
            "Cases of every kind that are open at a moment: opened (case.opened) or opened again by an undo "
            "(case.reopened) before it, and neither resolved nor dismissed since. Claimed, snoozed and escalated cases "
            "are open. The moment is the end of the last day of the period by the clock of the case's site "
            "(ages: of who looks); where that day is not over, it is now. The age of a case that was opened again runs "
            "from then; p90 is the age of the case at the rank that 90% of the open cases do not exceed. A dismissed "
            "case leaves the backlog as a resolved one does.",
            "cases",
            30.0,
            False,
            "cases",
        ),
        Definition(
            "order_to_worklist",
            "Order to worklist",
            "From the receipt of the HL7 message to a step that a modality can fetch, p95",
            "An order counts once, in the hour in which a message first put a step of it on the worklist (its first "
            "order.scheduled that tells how long it took): from the receipt of that message, before its "
            "acknowledgement, to the write that makes the step visible to worklist queries. Waiting behind other "
            "messages and being set aside until a person releases the message count in full; later changes, releases "
            "from hold and orders without a message do not. Durations are counted in fixed steps, which end at 1, 1.2, "
            "1.5, 2, 2.5, 3, 4, 5, 6, 8 and 10 s and so on, each at most a third above the one before; p50 and p95 are "
            "the upper end of the step that holds the order at that rank. The target is the end of a step, and what "
            "took no longer is within it. The source is the interface, the modality that of the order's first step.",
            "s",
            5.0,
            False,
            "orders",
        ),
        Definition(
            "mismatch_rate",
            "Mismatches",
            "Studies that a person was asked about, of all studies judged",
            _COUNTED + "It is a mismatch when a case about its identity was ever opened (no order, patient differs, "
            "two orders fit, study UID under two patients, wrong worklist entry), and counts once, with the reason of "
            "the first such case, however it was settled later; a case that was dismissed or undone stays counted.",
            "%",
            2.5,
            False,
            "studies",
        ),
    )
}
