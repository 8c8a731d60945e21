"""What a person or a message can change keeps who changed it and why; what keeps no history says why not."""

from collections.abc import Mapping
from typing import Any

import pytest
from django.apps import apps
from django.db.models import Model

from orchestrator.models import Actor, ActorKind, Correction, Decision, acting
from orchestrator.models.history import ActedOn
from orchestrator.services import corrections
from orchestrator.states import Identity
from tests.factories import make_order, make_study

OURS = ("orchestrator", "reconciliation", "routing", "worklists")

EVENTS = "every change is a transition: its WorkflowEvent has actor and reason"
ONCE = "written once, never changed"
DERIVED = "computed anew from records that have a history"
WITHOUT: Mapping[str, str] = {
    "AccessChain": DERIVED,
    "AccessEvent": f"{ONCE}; sealed into a chain of its own",
    "ClaimWord": DERIVED,
    "DeliveredInstance": "the results of a delivery, by instance; each try is a DeliveryAttempt",
    "DefaultView": "a preference of one person, which nobody else sees",
    "Delivery": EVENTS,
    "DeliveryAttempt": ONCE,
    "ExpectedInstance": ONCE,
    "Hop": ONCE,
    "InboundMessage": f"the bytes are never changed; {EVENTS}",
    "Instance": ONCE,
    "Job": EVENTS,
    "KpiFact": "computed anew from the events of its subject",
    "KpiTally": "a count of KpiFact",
    "JobItem": ONCE,
    "Line": "a lease and a counter of silence; the destination itself has a history",
    "MatchRun": ONCE,
    "MatchValue": DERIVED,
    "MessageKey": DERIVED,
    "Presence": "who looks at a thing in this half minute",
    "PatientWord": DERIVED,
    "RefusedReport": f"{ONCE}; then a counter of repetitions, with a case of its own",
    "RuleSetVersion": ONCE,
    "ScheduledStation": DERIVED,
    "Series": "what the first image said, and how many there are",
    "Subscription": "our own errand to our own code",
    "UnknownCaller": "a counter of calls; letting it in writes the history of the peer it becomes",
    "WorkflowEvent": ONCE,
    "WorklistEntry": DERIVED,
    "WorklistQuery": "a counter of equal answers",
    "WrongEntry": ONCE,
}


def _ours() -> list[type[Model]]:
    models = [model for label in OURS for model in apps.get_app_config(label).get_models()]
    return [model for model in models if not model.__name__.startswith("Historical")]


def test_every_record_has_a_history_or_says_why_not() -> None:
    without = {model.__name__ for model in _ours() if not hasattr(model, "history")}
    assert sorted(without - set(WITHOUT)) == [], "give these a history(), or say here why they need none"
    assert sorted(set(WITHOUT) - without) == [], "these have a history or no longer exist"


def test_every_history_names_actor_and_reason() -> None:
    for model in _ours():
        if model.__name__ not in WITHOUT:
            kept: Any = model.history.model  # type: ignore[attr-defined]  # django-simple-history's manager
            assert issubclass(kept, ActedOn) or hasattr(kept, "actor_kind"), model
            assert {"actor_kind", "actor_name", "history_user", "history_change_reason"} <= {
                column.name for column in kept._meta.get_fields()
            }, model


@pytest.mark.django_db
def test_what_leaves_otherwise_than_it_came_is_remembered_with_who_and_why() -> None:
    order = make_order()
    study = make_study(order, patient_name="Do^Jane", identity=Identity.MATCHED, matched_patient=order.patient)
    claim = study.claims.get()
    claim.order = order
    with acting(Actor(ActorKind.USER, "mara"), "The name band agrees"):
        corrections.recompute(claim)
    claim.identity = Identity.HELD
    with acting(Actor(ActorKind.USER, "ines"), "It was the sister"):
        corrections.recompute(claim)
    assert not Correction.objects.exists()
    kept = Correction.history.filter(attribute="PatientName").order_by("history_id")
    assert [
        (row.history_type, row.old, row.new, row.actor_name, row.history_change_reason) for row in kept
    ] == [
        ("+", "Do^Jane", "Doe^Jane", "mara", "The name band agrees"),
        ("-", "Do^Jane", "Doe^Jane", "ines", "It was the sister"),
    ]  # fmt: skip
    assert not Decision.objects.exists()
