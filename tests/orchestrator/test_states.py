"""The state tables: every pair of state and event, legal and illegal."""

import pytest

from orchestrator import states
from orchestrator.states import LOOKS, MACHINES, IllegalTransition, Machine

PAIRS = [(m, state, event) for m in MACHINES.values() for state in m.states.values for event in sorted(m.events)]


@pytest.mark.parametrize(("machine", "state", "event"), PAIRS, ids=lambda v: getattr(v, "name", str(v)))
def test_every_pair_either_leads_to_a_state_of_its_machine_or_is_illegal(
    machine: Machine, state: str, event: str
) -> None:
    if (state, event) in machine.transitions:
        assert machine.next(state, event) in machine.states.values
    else:
        with pytest.raises(IllegalTransition, match=event):
            machine.next(state, event)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda m: m.name)
def test_every_state_is_the_first_or_can_be_reached(machine: Machine) -> None:
    # A repeated message is born as what it is.
    born = {"message": {states.InboundStatus.DUPLICATE}}.get(machine.name, set())
    assert {machine.initial, *machine.transitions.values()} | born == set(machine.states.values)


def test_event_names_belong_to_one_machine_only() -> None:
    names = [event for machine in MACHINES.values() for event in machine.events]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda m: m.name)
def test_every_state_has_a_look(machine: Machine) -> None:
    assert set(LOOKS[machine.states]) == set(machine.states)


@pytest.mark.parametrize(
    ("machine", "state", "event"),
    [
        ("mpps", states.MppsStatus.COMPLETED, "mpps.completed"),
        ("mpps", states.MppsStatus.DISCONTINUED, "mpps.completed"),
        ("step", states.StepStatus.STARTED, "step.canceled"),
        ("step", states.StepStatus.CANCELED, "step.started"),
        ("order", states.OrderStatus.IN_PROGRESS, "order.canceled"),
        ("case", states.CaseStatus.RESOLVED, "case.resolved"),
        ("delivery", states.DeliveryStatus.SENT, "delivery.failed"),
        ("delivery", states.DeliveryStatus.CANCELED, "delivery.sending"),
    ],
)
def test_what_must_never_happen_is_illegal(machine: str, state: str, event: str) -> None:
    with pytest.raises(IllegalTransition):
        MACHINES[machine].next(state, event)


def test_a_step_on_the_worklist_is_not_final() -> None:
    assert not states.STEP_ON_WORKLIST & states.STEP_FINAL
