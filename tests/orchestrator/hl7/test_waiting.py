"""What waits behind a message that was set aside, for how long, and at what price (promise 10)."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orchestrator.hl7.drain import apply_messages
from orchestrator.models import ExceptionCase, HL7Application, InboundMessage, MessageKey, Patient, Subscription
from orchestrator.services.exceptions import claim_case
from orchestrator.services.exceptions import dismiss as dismiss_case
from orchestrator.services.messages import dismiss, replay, ring_due
from orchestrator.services.subscriptions import run_subscription
from orchestrator.services.workflow import transition
from orchestrator.states import CaseStatus, InboundStatus
from tests.factories import make_user
from tests.orchestrator.hl7.speech import adt, orm, pid, take

pytestmark = pytest.mark.django_db

BROKEN = adt("A08", "BAD", person=pid(born="not a date"))
WAITING, APPLIED = InboundStatus.WAITING, InboundStatus.APPLIED


def drain() -> None:
    for interface in HL7Application.objects.order_by("pk"):
        apply_messages(interface.pk)


def message(control_id: str) -> InboundMessage:
    return InboundMessage.objects.get(control_id=control_id)


@pytest.mark.parametrize(
    "identifiers",
    ["P1^^^MAIN", "X7^^^OTHER~P1^^^MAIN", "P1^^^MAIN&1.2.3&ISO", "P1^^^&1.2.3&ISO", "P1"],
    ids=["its own", "the second", "both names of the issuer", "the other name of the issuer", "the default issuer"],
)
def test_a_patient_is_the_same_by_whatever_identifier(identifiers: str) -> None:
    take(adt(person=pid().replace("MAIN", "MAIN&1.2.3&ISO")), BROKEN)
    take(adt("A08", "NEXT", application="HIS", person=f"PID|1||{identifiers}||Doe^Jane"))
    drain()
    assert message("NEXT").status == WAITING


@pytest.mark.parametrize("numbers", ["PL1|F1", "PL1|", "|F1"])
def test_an_order_is_the_same_by_either_number(numbers: str) -> None:
    take(orm(control_id="BAD", start="never"))
    take(orm("CA", "NEXT", person=pid("P2", "Roe"), application="OTHER").replace("|PL1|F1|", f"|{numbers}|"))
    drain()
    assert message("NEXT").status == WAITING


def test_what_came_before_does_not_wait_behind_what_came_later() -> None:
    take(adt("A08", "FIRST", application="SLOW"), BROKEN)
    apply_messages(message("BAD").interface_id or 0)
    drain()
    assert message("FIRST").status == APPLIED


def test_released_messages_keep_their_order_across_interfaces() -> None:
    take(BROKEN)
    drain()
    take(adt("A08", "SECOND", application="A"), adt("A08", "THIRD", application="B"))
    drain()
    assert message("THIRD").waits_for == message("SECOND")
    dismiss(message("BAD"), reason="wrong")
    apply_messages(message("THIRD").interface_id or 0)
    assert message("THIRD").status == WAITING
    drain()
    drain()
    assert (message("SECOND").status, message("THIRD").status) == (APPLIED, APPLIED)
    assert not MessageKey.objects.exists()


def test_while_it_is_looked_at_once_more_those_behind_it_still_wait() -> None:
    take(BROKEN)
    drain()
    replay(message("BAD"), reason="again")
    take(adt("A08", "NEXT", application="OTHER"))
    apply_messages(message("NEXT").interface_id or 0)
    assert message("NEXT").status == WAITING
    drain()
    assert (message("BAD").status, message("NEXT").status) == (InboundStatus.QUARANTINED, WAITING)


def test_a_message_that_was_set_aside_before_keys_were_kept_releases_what_waits_behind_it() -> None:
    take(adt("A08", "OLD", person=pid(born="")), adt("A08", "NEXT"))
    [old, following] = InboundMessage.objects.order_by("pk")
    transition(following, "message.waiting", waits_for=old)
    drain()
    assert message("OLD").status == APPLIED
    drain()
    assert message("NEXT").status == APPLIED


@pytest.mark.parametrize("end", [APPLIED, InboundStatus.REJECTED])
def test_what_waits_behind_a_settled_message_is_released_by_the_sweep(end: InboundStatus) -> None:
    take(BROKEN, adt("A08", "NEXT"))
    drain()
    ring_due()
    assert message("NEXT").status == WAITING
    InboundMessage.objects.filter(control_id="BAD").update(status=end)
    MessageKey.objects.filter(message=message("BAD")).delete()
    ring_due()
    drain()
    assert (message("NEXT").status, message("NEXT").waits_for) == (APPLIED, None)


def test_whoever_dismisses_the_case_gives_the_message_up_and_nothing_waits_for_ever() -> None:
    take(BROKEN, adt("A08", "NEXT"))
    drain()
    dismiss_case(ExceptionCase.objects.get().pk, user=make_user(), reason="sent in error")
    run_subscription(Subscription.objects.get(event_name="case.dismissed", subscriber__endswith="give_up_dismissed").pk)
    drain()
    assert (message("BAD").status, message("NEXT").status) == (InboundStatus.REJECTED, APPLIED)


def test_a_case_that_somebody_has_claimed_is_settled_with_its_message() -> None:
    take(BROKEN)
    drain()
    claim_case(ExceptionCase.objects.get().pk, user=make_user())
    dismiss(message("BAD"), reason="sent in error")
    assert ExceptionCase.objects.get().status == CaseStatus.RESOLVED


def test_a_message_behind_many_costs_what_one_behind_none_costs() -> None:
    def cost(number: int) -> int:
        take(adt("A08", f"M{number}"))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            apply_messages(HL7Application.objects.get().pk)
        return len(queries)

    take(BROKEN)
    drain()
    costs = [cost(number) for number in range(8)]
    assert len(set(costs)) == 1
    with CaptureQueriesContext(connection) as queries:
        dismiss(message("BAD"), reason="wrong")
    assert len(queries) < 40, "one is released, and the next by that one"
    drain()
    assert InboundMessage.objects.filter(status=APPLIED).count() == 8
    assert Patient.objects.count() == 1
