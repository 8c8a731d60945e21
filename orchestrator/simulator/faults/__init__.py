"""What goes wrong in a hospital, each kind taken from life: a small class that says what it changes, and a row of one
table (expected.py) that says what may come of it.
"""

from collections.abc import Mapping
from random import Random

from orchestrator.simulator.faults import console, messages, objects
from orchestrator.simulator.faults.expected import Hold
from orchestrator.simulator.faults.fault import Fault, Ordinary

__all__ = ["FAULTS", "ORDINARY", "Fault", "Hold", "draw"]

ORDINARY = Ordinary()
_KINDS: tuple[type[Fault], ...] = (
    console.TypingError,
    console.SwappedName,
    console.MaidenName,
    console.Transliteration,
    console.LostZeros,
    console.NoIssuer,
    console.WrongAccession,
    console.MissingAccession,
    console.ErasedAccession,
    console.WrongEntryNoticed,
    console.WrongEntryEdited,
    console.OtherOrderNoticed,
    console.OtherOrderEdited,
    messages.NoOrder,
    messages.OrderAfterImages,
    messages.OrderAdoptsStudy,
    messages.TemporaryIdentity,
    messages.DuplicateRegistration,
    messages.MergeInAcquisition,
    messages.NoIssuerInMessages,
    messages.MessageTwice,
    messages.MessageAnew,
    messages.OrderBeforeRegistration,
    messages.LateUpdate,
    messages.LateNewOrder,
    messages.MessageCharset,
    objects.MppsNeverSent,
    objects.MppsNeverFinished,
    objects.StudyTwice,
    objects.HalfSent,
    objects.SecondPatient,
    objects.ClockDrift,
    objects.ClockReset,
    objects.CharsetWrong,
    objects.CharsetMissing,
)
FAULTS: Mapping[str, Fault] = {kind.name: kind() for kind in _KINDS}


def draw(rng: Random, share: float, weights: Mapping[str, float]) -> Fault:
    """A fault for one exam with the probability `share` (0 to 1), a kind by its weight."""
    # Both numbers are always drawn, so that another share changes which exams fail and nothing else about them.
    happens, point = rng.random() < share, rng.random()
    if not happens:
        return ORDINARY
    return Random(point).choices([FAULTS[name] for name in weights], list(weights.values()))[0]
