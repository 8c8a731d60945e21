"""How an event reads: its words, sign, colour and rail, for logs and timelines."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from orchestrator.models import ActorKind, WorkflowEvent
from orchestrator.states import LOOKS, MACHINE_OF_EVENT, Look
from orchestrator.templatetags.drawings import Moment


class Words(NamedTuple):
    text: str
    icon: str


_TAKEN_BACK = Words("Taken back", "undo")
# Events of no machine, and those that read better than their state does.
_WORDS: Mapping[str, Words] = {
    "order.placed": Words("Order placed", "order"),
    "order.changed": Words("Order changed", "order"),
    "patient.updated": Words("Patient's data changed", "users"),
    "patient.registered": Words("Patient registered", "users"),
    "case.opened": Words("Case opened", "inbox"),
    "case.updated": Words("Case brought up to date", "inbox"),
    "case.candidates_changed": Words("New comparison, left to the person who has the case", "link"),
    "case.handed_back": Words("Handed back", "undo"),
    "case.unclaimed": _TAKEN_BACK,
    "case.reopened": Words("Case opened again", "undo"),
    "study.reconciled": Words("Compared with the orders", "link"),
    "study.received": Words("Received", "inbox"),
    "study.outstanding": Words("No longer delivered: other values leave now", "inbox"),
    "study.not_returned": Words("Not sent back to where it came from", "undo"),
    "study.copies_returned": Words("Came back as another copy: kept, not sent", "undo"),
    "study.disowned": Words("Wrong worklist entry used", "warn"),
    "claim.unmatched": Words("No longer matched", "undo"),
    "decision.undone": Words("Decision taken back", "undo"),
    "claim.matched": Words("Matched to an order", "link"),
    "claim.held": Words("Held for a person", "hold"),
}
_RAILS: Mapping[str, str] = {
    "patient": "Identity", "visit": "Identity", "claim": "Identity", "decision": "Identity", "case": "Identity",
    "order": "Orders", "message": "Orders", "step": "Worklist", "mpps": "Worklist", "worklist": "Worklist",
    "study": "Images", "delivery": "Images", "instance": "Images", "report": "Results",
}  # fmt: skip
_SUBJECTS: Mapping[str, str] = {
    "mpps": "Procedure step at the modality", "step": "Scheduled step", "case": "Case", "claim": "Identity",
}  # fmt: skip


def rail_of(event: WorkflowEvent) -> str:
    """The rail on which it happened."""
    return "Identity" if event.name in _IDENTITY_OF_STUDY else _RAILS.get(event.name.partition(".")[0], "Images")


_IDENTITY_OF_STUDY = frozenset({"study.matched", "study.held", "study.rejected", "study.pending", "study.reconciled"})


def words_of(event: WorkflowEvent) -> Words:
    """What happened, in a few words, and its sign."""
    known = _TAKEN_BACK if "undone" in event.detail else _WORDS.get(event.name)
    if known:
        return known
    subject, _, verb = event.name.partition(".")
    look = look_of(event)
    said = f"{_SUBJECTS.get(subject, subject.capitalize())} {verb.replace('_', ' ')}"
    return Words(said, look.icon if look else "dot")


def look_of(event: WorkflowEvent) -> Look | None:
    """Colour and sign of the state that it led to."""
    machine = MACHINE_OF_EVENT.get(event.name)
    return LOOKS[machine.states].get(event.to_state) if machine else None


def entry(event: WorkflowEvent, *, rail: bool = False) -> dict[str, Any]:
    """The event as `{% log %}` draws it: who, what, why."""
    words, look = words_of(event), look_of(event)
    who = "" if event.actor_kind == ActorKind.SYSTEM else event.actor_name
    reason = f"“{event.reason}”" if event.reason else ""
    return {
        "at": event.at,
        "icon": words.icon,
        "text": words.text,
        "sub": ", ".join(filter(None, [who, reason])),
        "colour": look.colour if look and look.colour in ("bad", "wait") else "",
        "rail": rail_of(event) if rail else "",
    }


def moments(events: Iterable[WorkflowEvent]) -> list[Moment]:
    """The events as the timeline draws them."""
    drawn = []
    for event in events:
        look = look_of(event)
        drawn.append(Moment(event.at, rail_of(event), words_of(event).text, look.colour if look else "good"))
    return drawn
