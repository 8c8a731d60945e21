"""Every status of the product: value, label, colour, terminal set, and what may follow what.

A machine is a table keyed by (state, event); an unknown pair raises IllegalTransition. Event names are the
public names that subscribers, timelines and KPIs use. `services.workflow.transition` is the only writer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from django.db.models import TextChoices


class IllegalTransition(Exception):
    """This event may not happen in this state."""

    def __init__(self, machine: str, state: str, event: str) -> None:
        super().__init__(f"{machine}: '{event}' may not happen in state {state}.")
        self.machine, self.state, self.event = machine, state, event


class OrderStatus(TextChoices):
    ORDERED = "ORDERED", "Ordered"
    SCHEDULED = "SCHEDULED", "Scheduled"
    IN_PROGRESS = "IN_PROGRESS", "In progress"
    COMPLETED = "COMPLETED", "Completed"
    CANCELED = "CANCELED", "Canceled"
    DISCONTINUED = "DISCONTINUED", "Discontinued"
    ON_HOLD = "ON_HOLD", "On hold"
    REPLACED = "REPLACED", "Replaced"


class StepStatus(TextChoices):
    SCHEDULED = "SCHEDULED", "Scheduled"
    ARRIVED = "ARRIVED", "Arrived"
    READY = "READY", "Ready"
    STARTED = "STARTED", "Started"
    COMPLETED = "COMPLETED", "Completed"
    DISCONTINUED = "DISCONTINUED", "Discontinued"
    CANCELED = "CANCELED", "Canceled"
    EXPIRED = "EXPIRED", "Expired"
    ON_HOLD = "ON_HOLD", "On hold"


class MppsStatus(TextChoices):
    """PS3.3 C.4.14, Performed Procedure Step Status (0040,0252)."""

    IN_PROGRESS = "IN PROGRESS", "In progress"
    COMPLETED = "COMPLETED", "Completed"
    DISCONTINUED = "DISCONTINUED", "Discontinued"


class VisitStatus(TextChoices):
    PLANNED = "PLANNED", "Planned"
    ACTIVE = "ACTIVE", "Active"
    FINISHED = "FINISHED", "Finished"
    CANCELED = "CANCELED", "Canceled"


class Identity(TextChoices):
    """Whether a claim (or, as the worst of its claims, a study) belongs to a known patient and order."""

    PENDING = "PENDING", "Pending"
    MATCHED = "MATCHED", "Matched"
    HELD = "HELD", "Held"
    REJECTED = "REJECTED", "Rejected"


class MatchedBy(TextChoices):
    AUTO = "auto", "automatically"
    PERSON = "person", "by a person"
    ORDER_CREATED = "order_created", "by an order created for it"


class Custody(TextChoices):
    RECEIVING = "RECEIVING", "Receiving"
    RECEIVED = "RECEIVED", "Received"
    INCOMPLETE = "INCOMPLETE", "Incomplete"
    DELIVERED = "DELIVERED", "Delivered"
    COMMITTED = "COMMITTED", "Committed"


class Context(TextChoices):
    INCOMPLETE = "INCOMPLETE", "Incomplete"
    COMPLETE = "COMPLETE", "Complete"


class Quality(TextChoices):
    UNCHECKED = "UNCHECKED", "Unchecked"
    PASSED = "PASSED", "Passed"
    FAILED = "FAILED", "Failed"
    WAIVED = "WAIVED", "Waived"


class Purpose(TextChoices):
    """How we came by an instance (promise 9); never the sender's claim."""

    ACQUIRED = "ACQUIRED", "Acquired"
    IMPORTED = "IMPORTED", "Imported"
    PRIOR = "PRIOR", "Prior"
    DERIVED = "DERIVED", "Derived"
    RETURNED = "RETURNED", "Returned"


class CaseStatus(TextChoices):
    OPEN = "OPEN", "Open"
    CLAIMED = "CLAIMED", "Claimed"
    SNOOZED = "SNOOZED", "Snoozed"
    ESCALATED = "ESCALATED", "Escalated"
    RESOLVED = "RESOLVED", "Resolved"
    DISMISSED = "DISMISSED", "Dismissed"


class InboundStatus(TextChoices):
    RECEIVED = "RECEIVED", "Received"
    APPLIED = "APPLIED", "Applied"
    WAITING = "WAITING", "Waiting"
    QUARANTINED = "QUARANTINED", "Quarantined"
    REJECTED = "REJECTED", "Rejected"
    DUPLICATE = "DUPLICATE", "Duplicate"


class DeliveryStatus(TextChoices):
    QUEUED = "QUEUED", "Queued"
    SENDING = "SENDING", "Sending"
    PARTIAL = "PARTIAL", "Partial"
    SENT = "SENT", "Sent"
    VERIFIED = "VERIFIED", "Verified"
    COMMITTED = "COMMITTED", "Committed"
    RETRYING = "RETRYING", "Retrying"
    UNKNOWN = "UNKNOWN", "Unknown"
    FAILED = "FAILED", "Failed"
    CANCELED = "CANCELED", "Canceled"
    PAUSED = "PAUSED", "Paused"


class JobStatus(TextChoices):
    QUEUED = "QUEUED", "Queued"
    RUNNING = "RUNNING", "Running"
    DONE = "DONE", "Done"
    FAILED = "FAILED", "Failed"
    STOPPED = "STOPPED", "Stopped"


class SubscriptionStatus(TextChoices):
    PENDING = "PENDING", "Pending"
    DONE = "DONE", "Done"
    FAILED = "FAILED", "Failed"


STEP_FINAL = frozenset({StepStatus.COMPLETED, StepStatus.DISCONTINUED, StepStatus.CANCELED, StepStatus.EXPIRED})
STEP_ON_WORKLIST = frozenset({StepStatus.SCHEDULED, StepStatus.ARRIVED, StepStatus.READY})
ORDER_FINAL = frozenset({OrderStatus.COMPLETED, OrderStatus.CANCELED, OrderStatus.DISCONTINUED, OrderStatus.REPLACED})
CASE_OPEN = frozenset({CaseStatus.OPEN, CaseStatus.CLAIMED, CaseStatus.SNOOZED, CaseStatus.ESCALATED})
# What a person should look at now; a snoozed case waits for its time.
CASE_WAITING = CASE_OPEN - {CaseStatus.SNOOZED}
# What needs an order, is routed and counts as acquired (promise 9).
ACQUISITIONS = frozenset({Purpose.ACQUIRED, Purpose.IMPORTED})
DELIVERY_TRIED = frozenset(
    {
        DeliveryStatus.QUEUED, DeliveryStatus.SENDING, DeliveryStatus.PARTIAL, DeliveryStatus.RETRYING,
        DeliveryStatus.UNKNOWN,
    }
)  # fmt: skip
# Still to be sent, now or later.
DELIVERY_WAITING = DELIVERY_TRIED | {DeliveryStatus.PAUSED}
DELIVERY_REACHED = frozenset({DeliveryStatus.SENT, DeliveryStatus.VERIFIED, DeliveryStatus.COMMITTED})
DELIVERY_FINAL = DELIVERY_REACHED | {DeliveryStatus.CANCELED, DeliveryStatus.FAILED}


class Look(NamedTuple):
    """How a state is shown: colour class (`is-<colour>`) and icon id of static/icons.svg."""

    colour: str
    icon: str


LOOKS: Mapping[type[TextChoices], Mapping[str, Look]] = {
    OrderStatus: {
        OrderStatus.ORDERED: Look("idle", "dashed"),
        OrderStatus.SCHEDULED: Look("idle", "dashed"),
        OrderStatus.IN_PROGRESS: Look("move", "progress"),
        OrderStatus.COMPLETED: Look("good", "done"),
        OrderStatus.CANCELED: Look("idle", "ban"),
        OrderStatus.DISCONTINUED: Look("wait", "stop"),
        OrderStatus.ON_HOLD: Look("wait", "pause"),
        OrderStatus.REPLACED: Look("idle", "arrow"),
    },
    StepStatus: {
        StepStatus.SCHEDULED: Look("idle", "dashed"),
        StepStatus.ARRIVED: Look("idle", "user"),
        StepStatus.READY: Look("move", "dot"),
        StepStatus.STARTED: Look("move", "progress"),
        StepStatus.COMPLETED: Look("good", "done"),
        StepStatus.DISCONTINUED: Look("wait", "stop"),
        StepStatus.CANCELED: Look("idle", "ban"),
        StepStatus.EXPIRED: Look("idle", "clock"),
        StepStatus.ON_HOLD: Look("wait", "pause"),
    },
    MppsStatus: {
        MppsStatus.IN_PROGRESS: Look("move", "progress"),
        MppsStatus.COMPLETED: Look("good", "done"),
        MppsStatus.DISCONTINUED: Look("wait", "stop"),
    },
    VisitStatus: {
        VisitStatus.PLANNED: Look("idle", "dashed"),
        VisitStatus.ACTIVE: Look("move", "dot"),
        VisitStatus.FINISHED: Look("good", "done"),
        VisitStatus.CANCELED: Look("idle", "ban"),
    },
    Identity: {
        Identity.PENDING: Look("move", "dashed"),
        Identity.MATCHED: Look("good", "link"),
        Identity.HELD: Look("wait", "hold"),
        Identity.REJECTED: Look("idle", "ban"),
    },
    Custody: {
        Custody.RECEIVING: Look("move", "get"),
        Custody.RECEIVED: Look("move", "inbox"),
        Custody.DELIVERED: Look("move", "send"),
        Custody.COMMITTED: Look("good", "lock"),
        Custody.INCOMPLETE: Look("bad", "warn"),
    },
    Context: {
        Context.INCOMPLETE: Look("idle", "dashed"),
        Context.COMPLETE: Look("good", "done"),
    },
    Quality: {
        Quality.UNCHECKED: Look("idle", "dashed"),
        Quality.PASSED: Look("good", "done"),
        Quality.FAILED: Look("bad", "fail"),
        Quality.WAIVED: Look("idle", "minus"),
    },
    CaseStatus: {
        CaseStatus.OPEN: Look("idle", "dashed"),
        CaseStatus.CLAIMED: Look("move", "user"),
        CaseStatus.SNOOZED: Look("idle", "clock"),
        CaseStatus.ESCALATED: Look("wait", "warn"),
        CaseStatus.RESOLVED: Look("good", "done"),
        CaseStatus.DISMISSED: Look("idle", "ban"),
    },
    InboundStatus: {
        InboundStatus.RECEIVED: Look("move", "inbox"),
        InboundStatus.APPLIED: Look("good", "done"),
        InboundStatus.WAITING: Look("wait", "pause"),
        InboundStatus.QUARANTINED: Look("wait", "hold"),
        InboundStatus.REJECTED: Look("bad", "fail"),
        InboundStatus.DUPLICATE: Look("idle", "equal"),
    },
    DeliveryStatus: {
        DeliveryStatus.QUEUED: Look("idle", "dashed"),
        DeliveryStatus.SENDING: Look("move", "send"),
        DeliveryStatus.PARTIAL: Look("move", "progress"),
        DeliveryStatus.SENT: Look("move", "check"),
        DeliveryStatus.VERIFIED: Look("good", "done"),
        DeliveryStatus.COMMITTED: Look("good", "lock"),
        DeliveryStatus.RETRYING: Look("move", "retry"),
        DeliveryStatus.UNKNOWN: Look("wait", "warn"),
        DeliveryStatus.FAILED: Look("bad", "fail"),
        DeliveryStatus.CANCELED: Look("idle", "ban"),
        DeliveryStatus.PAUSED: Look("wait", "pause"),
    },
    JobStatus: {
        JobStatus.QUEUED: Look("idle", "dashed"),
        JobStatus.RUNNING: Look("move", "progress"),
        JobStatus.DONE: Look("good", "done"),
        JobStatus.FAILED: Look("bad", "fail"),
        JobStatus.STOPPED: Look("wait", "stop"),
    },
}


@dataclass(frozen=True)
class Machine:
    """One status column and its transition table."""

    name: str
    field: str
    states: type[TextChoices]
    initial: str
    transitions: Mapping[tuple[str, str], str]

    @property
    def events(self) -> frozenset[str]:
        return frozenset(event for _, event in self.transitions)

    def next(self, state: str, event: str) -> str:
        """The state that follows. Raises IllegalTransition for an unknown pair."""
        try:
            return self.transitions[state, event]
        except KeyError:
            raise IllegalTransition(self.name, state, event) from None


def _machine(
    name: str, field: str, states: type[TextChoices], initial: str, rows: Mapping[str, tuple[set[str], str]]
) -> Machine:
    """Build a machine from rows `event: (from states, to state)`."""
    transitions = {(source, event): to for event, (sources, to) in rows.items() for source in sources}
    return Machine(name, field, states, initial, transitions)


_O, _S, _C, _D = OrderStatus, StepStatus, CaseStatus, DeliveryStatus
_any_identity = set(Identity.values)
_any_custody = set(Custody.values)

MACHINES: Mapping[str, Machine] = {
    machine.name: machine
    for machine in (
        _machine(
            "order", "status", OrderStatus, _O.ORDERED,
            {
                "order.scheduled": ({_O.ORDERED, _O.ON_HOLD}, _O.SCHEDULED),
                "order.started": (
                    {_O.ORDERED, _O.SCHEDULED, _O.COMPLETED, _O.DISCONTINUED, _O.ON_HOLD},
                    _O.IN_PROGRESS,
                ),
                "order.completed": ({_O.ORDERED, _O.SCHEDULED, _O.IN_PROGRESS}, _O.COMPLETED),
                "order.canceled": ({_O.ORDERED, _O.SCHEDULED, _O.ON_HOLD}, _O.CANCELED),
                "order.discontinued": ({_O.ORDERED, _O.SCHEDULED, _O.IN_PROGRESS, _O.ON_HOLD}, _O.DISCONTINUED),
                "order.held": ({_O.ORDERED, _O.SCHEDULED}, _O.ON_HOLD),
                "order.replaced": ({_O.ORDERED, _O.SCHEDULED, _O.ON_HOLD}, _O.REPLACED),
                "order.reopened": ({_O.IN_PROGRESS, _O.COMPLETED, _O.DISCONTINUED, _O.CANCELED}, _O.SCHEDULED),
            },
        ),
        _machine(
            "step", "status", StepStatus, _S.SCHEDULED,
            {
                "step.arrived": ({_S.SCHEDULED}, _S.ARRIVED),
                "step.ready": ({_S.SCHEDULED, _S.ARRIVED}, _S.READY),
                # An append study starts a completed step again (PS3.4 F.7, second MPPS for the same step).
                "step.started": (
                    {_S.SCHEDULED, _S.ARRIVED, _S.READY, _S.COMPLETED, _S.DISCONTINUED, _S.EXPIRED, _S.ON_HOLD},
                    _S.STARTED,
                ),
                "step.completed": ({_S.SCHEDULED, _S.ARRIVED, _S.READY, _S.STARTED, _S.EXPIRED}, _S.COMPLETED),
                "step.discontinued": ({_S.SCHEDULED, _S.ARRIVED, _S.READY, _S.STARTED, _S.ON_HOLD}, _S.DISCONTINUED),
                "step.canceled": ({_S.SCHEDULED, _S.ARRIVED, _S.READY, _S.ON_HOLD, _S.EXPIRED}, _S.CANCELED),
                "step.expired": ({_S.SCHEDULED, _S.ARRIVED, _S.READY}, _S.EXPIRED),
                "step.held": ({_S.SCHEDULED, _S.ARRIVED, _S.READY}, _S.ON_HOLD),
                # Released from hold, returned after a wrong worklist entry, or scheduled anew.
                "step.returned": (
                    {_S.ON_HOLD, _S.STARTED, _S.COMPLETED, _S.DISCONTINUED, _S.EXPIRED, _S.CANCELED},
                    _S.SCHEDULED,
                ),
            },
        ),
        _machine(
            "mpps", "status", MppsStatus, MppsStatus.IN_PROGRESS,
            {
                "mpps.completed": ({MppsStatus.IN_PROGRESS}, MppsStatus.COMPLETED),
                "mpps.discontinued": ({MppsStatus.IN_PROGRESS}, MppsStatus.DISCONTINUED),
            },
        ),
        _machine(
            "visit", "status", VisitStatus, VisitStatus.PLANNED,
            {
                "visit.started": (
                    {VisitStatus.PLANNED, VisitStatus.FINISHED, VisitStatus.CANCELED},
                    VisitStatus.ACTIVE,
                ),
                "visit.finished": ({VisitStatus.PLANNED, VisitStatus.ACTIVE}, VisitStatus.FINISHED),
                "visit.canceled": ({VisitStatus.PLANNED, VisitStatus.ACTIVE}, VisitStatus.CANCELED),
            },
        ),
        _machine(
            "claim", "identity", Identity, Identity.PENDING,
            {
                "claim.matched": ({Identity.PENDING, Identity.HELD, Identity.REJECTED}, Identity.MATCHED),
                "claim.held": ({Identity.PENDING, Identity.MATCHED, Identity.REJECTED}, Identity.HELD),
                "claim.rejected": ({Identity.PENDING, Identity.HELD, Identity.MATCHED}, Identity.REJECTED),
            },
        ),
        _machine(
            "study.identity", "identity", Identity, Identity.PENDING,
            {
                "study.matched": (_any_identity - {Identity.MATCHED}, Identity.MATCHED),
                "study.held": (_any_identity - {Identity.HELD}, Identity.HELD),
                "study.rejected": (_any_identity - {Identity.REJECTED}, Identity.REJECTED),
                "study.pending": (_any_identity - {Identity.PENDING}, Identity.PENDING),
            },
        ),
        _machine(
            "study.custody", "custody", Custody, Custody.RECEIVING,
            {
                # `study.received` may repeat: late instances close the study again.
                "study.received": (_any_custody, Custody.RECEIVED),
                "study.receiving": (_any_custody - {Custody.RECEIVING}, Custody.RECEIVING),
                "study.incomplete": (_any_custody - {Custody.INCOMPLETE}, Custody.INCOMPLETE),
                "study.delivered": (_any_custody - {Custody.DELIVERED}, Custody.DELIVERED),
                "study.committed": (_any_custody - {Custody.COMMITTED}, Custody.COMMITTED),
                # A required destination no longer has what leaves now: it was corrected, or goes there anew.
                "study.outstanding": ({Custody.DELIVERED, Custody.COMMITTED}, Custody.RECEIVED),
            },
        ),
        _machine(
            "study.context", "context", Context, Context.INCOMPLETE,
            {
                "study.context_completed": ({Context.INCOMPLETE}, Context.COMPLETE),
                "study.context_lost": ({Context.COMPLETE}, Context.INCOMPLETE),
            },
        ),
        _machine(
            "study.quality", "quality", Quality, Quality.UNCHECKED,
            {
                "study.quality_passed": (set(Quality.values) - {Quality.PASSED}, Quality.PASSED),
                "study.quality_failed": (set(Quality.values) - {Quality.FAILED}, Quality.FAILED),
                "study.quality_waived": ({Quality.FAILED}, Quality.WAIVED),
            },
        ),
        _machine(
            "case", "status", CaseStatus, _C.OPEN,
            {
                "case.claimed": ({_C.OPEN, _C.SNOOZED, _C.ESCALATED, _C.CLAIMED}, _C.CLAIMED),
                "case.handed_back": ({_C.OPEN, _C.CLAIMED, _C.SNOOZED, _C.ESCALATED}, _C.OPEN),
                "case.snoozed": ({_C.OPEN, _C.CLAIMED, _C.ESCALATED}, _C.SNOOZED),
                "case.woken": ({_C.SNOOZED}, _C.OPEN),
                "case.escalated": ({_C.OPEN, _C.CLAIMED, _C.SNOOZED}, _C.ESCALATED),
                # A claim or a snooze taken back, also when it woke since: with whom it had been escalated to before. No
                # second escalation.
                "case.unclaimed": ({_C.OPEN, _C.CLAIMED, _C.SNOOZED}, _C.ESCALATED),
                "case.resolved": (set(CASE_OPEN), _C.RESOLVED),
                "case.dismissed": (set(CASE_OPEN), _C.DISMISSED),
                "case.reopened": ({_C.RESOLVED, _C.DISMISSED}, _C.OPEN),
            },
        ),
        _machine(
            "message", "status", InboundStatus, InboundStatus.RECEIVED,
            {
                "message.applied": (
                    {InboundStatus.RECEIVED, InboundStatus.WAITING, InboundStatus.QUARANTINED},
                    InboundStatus.APPLIED,
                ),
                "message.waiting": ({InboundStatus.RECEIVED}, InboundStatus.WAITING),
                "message.quarantined": ({InboundStatus.RECEIVED, InboundStatus.WAITING}, InboundStatus.QUARANTINED),
                "message.released": ({InboundStatus.WAITING, InboundStatus.QUARANTINED}, InboundStatus.RECEIVED),
                "message.dismissed": ({InboundStatus.WAITING, InboundStatus.QUARANTINED}, InboundStatus.REJECTED),
            },
        ),
        _machine(
            "delivery", "status", DeliveryStatus, _D.QUEUED,
            {
                "delivery.sending": ({_D.QUEUED, _D.RETRYING, _D.UNKNOWN, _D.PARTIAL, _D.SENDING}, _D.SENDING),
                "delivery.partial": ({_D.SENDING}, _D.PARTIAL),
                "delivery.sent": ({_D.SENDING, _D.UNKNOWN}, _D.SENT),
                "delivery.verified": ({_D.SENT}, _D.VERIFIED),
                "delivery.committed": ({_D.SENT, _D.VERIFIED}, _D.COMMITTED),
                # From RETRYING and QUEUED too: a person may want it tried now.
                "delivery.retrying": (
                    {_D.QUEUED, _D.SENDING, _D.RETRYING, _D.FAILED, _D.CANCELED, _D.UNKNOWN, _D.PARTIAL},
                    _D.RETRYING,
                ),
                "delivery.unknown": ({_D.SENDING}, _D.UNKNOWN),
                "delivery.failed": ({_D.QUEUED, _D.SENDING, _D.RETRYING, _D.UNKNOWN, _D.PARTIAL}, _D.FAILED),
                "delivery.canceled": (
                    {_D.QUEUED, _D.RETRYING, _D.PAUSED, _D.UNKNOWN, _D.PARTIAL, _D.FAILED, _D.SENDING},
                    _D.CANCELED,
                ),
                "delivery.paused": ({_D.QUEUED, _D.RETRYING, _D.UNKNOWN, _D.PARTIAL}, _D.PAUSED),
                "delivery.resumed": ({_D.PAUSED}, _D.QUEUED),
                # Late instances of the same rendition join a delivery that had finished.
                "delivery.extended": (set(DELIVERY_REACHED), _D.QUEUED),
            },
        ),
        _machine(
            "job", "status", JobStatus, JobStatus.QUEUED,
            {
                "job.started": ({JobStatus.QUEUED, JobStatus.RUNNING}, JobStatus.RUNNING),
                "job.done": ({JobStatus.RUNNING}, JobStatus.DONE),
                "job.failed": ({JobStatus.QUEUED, JobStatus.RUNNING}, JobStatus.FAILED),
                "job.stopped": ({JobStatus.QUEUED, JobStatus.RUNNING}, JobStatus.STOPPED),
            },
        ),
    )
}  # fmt: skip

MACHINE_OF_EVENT: Mapping[str, Machine] = {event: machine for machine in MACHINES.values() for event in machine.events}


class CaseKind(NamedTuple):
    """A kind of exception: how it is named and how soon a person should have looked (minutes)."""

    label: str
    due_minutes: int


CASE_KINDS: Mapping[str, CaseKind] = {
    "unmatched_study": CaseKind("No order", 60),
    "patient_conflict": CaseKind("Patient differs", 30),
    "ambiguous_match": CaseKind("Two orders fit", 60),
    "duplicate_instance": CaseKind("Duplicate instance", 240),
    "study_uid_conflict": CaseKind("Study UID under two patients", 30),
    "incomplete_study": CaseKind("Count differs", 120),
    "mpps_conflict": CaseKind("Procedure step conflict", 120),
    "wrong_worklist_entry": CaseKind("Wrong worklist entry", 30),
    "hl7_quarantine": CaseKind("Message set aside", 60),
    "hl7_rejected": CaseKind("Message refused", 240),
    "unknown_sender": CaseKind("Unknown sender", 240),
    "unreadable_object": CaseKind("Object cannot be read", 120),
    "missing_file": CaseKind("File missing in the spool", 60),
    "no_route": CaseKind("No route", 60),
    "rule_error": CaseKind("Rule cannot be evaluated", 30),
    "delivery_failed": CaseKind("Delivery failed", 60),
    "destination_silent": CaseKind("Destination does not answer", 60),
    "already_delivered": CaseKind("Already delivered", 60),
    "automation_failed": CaseKind("Automation failed", 60),
}
