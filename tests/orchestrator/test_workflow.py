"""One writer of state: the change, its event and what is owed to subscribers, in one transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from orchestrator import tasks
from orchestrator.models import (
    Actor,
    ActorKind,
    ExceptionCase,
    Patient,
    Site,
    Subscription,
    User,
    Visit,
    WorkflowEvent,
    acting,
)
from orchestrator.services import leases, subscriptions
from orchestrator.services.workflow import LeaseLost, record, transition
from orchestrator.states import CaseStatus, IllegalTransition, SubscriptionStatus, VisitStatus
from tests.factories import make_site
from tests.peers import wait_for

pytestmark = pytest.mark.django_db

heard: list[int] = []


def listen(subject_id: int) -> None:
    heard.append(subject_id)


def fail(subject_id: int) -> None:
    raise ValueError(f"cannot do {subject_id}")


def listen_to_all(keys: Sequence[int]) -> None:
    heard.extend([*keys, len(keys)])


def fail_for_all(keys: Sequence[int]) -> None:
    raise RuntimeError("cannot do all")


LISTEN, FAIL = f"{__name__}.listen", f"{__name__}.fail"
LISTEN_TO_ALL, FAIL_FOR_ALL = f"{__name__}.listen_to_all", f"{__name__}.fail_for_all"


@pytest.fixture
def visit() -> Visit:
    heard.clear()
    site = make_site()
    return Visit.objects.create(patient=Patient.objects.create(name="DOE^JANE"), site=site, visit_number="V1")


def owe(name: str, subscriber: str, visit: Visit) -> Subscription:
    with override_settings(EVENT_SUBSCRIBERS={name: [subscriber]}):
        record(name, visit)
    return Subscription.objects.get()


def test_a_transition_writes_state_history_and_event_with_actor_and_reason(visit: Visit) -> None:
    with acting(Actor(ActorKind.INTERFACE, "HIS"), "admitted"):
        transition(visit, "visit.started", detail={"by": "A01"})
    visit.refresh_from_db()
    event = WorkflowEvent.objects.get()
    newest: Any = visit.history.latest()
    assert visit.status == VisitStatus.ACTIVE
    assert (event.name, event.from_state, event.to_state) == ("visit.started", "PLANNED", "ACTIVE")
    assert (event.actor_kind, event.actor_name, event.reason) == ("interface", "HIS", "admitted")
    assert (event.patient_id, event.site_id) == (visit.patient_id, visit.site_id)
    assert (newest.status, newest.actor_name, newest.history_change_reason) == ("ACTIVE", "HIS", "admitted")


def test_an_illegal_transition_changes_nothing(visit: Visit) -> None:
    transition(visit, "visit.canceled")
    with pytest.raises(IllegalTransition):
        transition(visit, "visit.finished")
    visit.refresh_from_db()
    assert visit.status == VisitStatus.CANCELED
    assert WorkflowEvent.objects.count() == 1


def test_a_stale_copy_of_a_row_cannot_repeat_a_transition(visit: Visit) -> None:
    stale = Visit.objects.get(pk=visit.pk)
    transition(visit, "visit.canceled")
    with pytest.raises(IllegalTransition):
        transition(stale, "visit.canceled")


def test_when_the_transaction_fails_neither_state_nor_event_nor_subscription_stays(visit: Visit) -> None:
    @transaction.atomic
    def start_and_fail() -> None:
        transition(visit, "visit.started")
        raise RuntimeError

    with override_settings(EVENT_SUBSCRIBERS={"visit.started": [LISTEN]}), pytest.raises(RuntimeError):
        start_and_fail()
    visit.refresh_from_db()
    assert visit.status == VisitStatus.PLANNED
    assert not WorkflowEvent.objects.exists()
    assert not Subscription.objects.exists()


def test_each_subscriber_gets_its_own_row_and_is_called_once(visit: Visit) -> None:
    subscription = owe("visit.seen", LISTEN, visit)
    subscriptions.run_subscription(subscription.pk)
    subscriptions.run_subscription(subscription.pk)
    subscription.refresh_from_db()
    assert heard == [visit.pk]
    assert subscription.status == SubscriptionStatus.DONE


def test_a_failing_subscriber_is_tried_again_later_and_then_shown_to_a_person(visit: Visit) -> None:
    subscription = owe("visit.seen", FAIL, visit)
    for attempt in range(1, subscriptions.ATTEMPTS_UNTIL_CASE + 1):
        Subscription.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))
        subscriptions.run_subscription(subscription.pk)
        subscription.refresh_from_db()
        assert subscription.attempts == attempt
        assert "cannot do" in subscription.last_error
        assert subscription.next_attempt_at is not None
        assert subscription.next_attempt_at > timezone.now()
    case = ExceptionCase.objects.get()
    assert (case.kind, case.status) == ("automation_failed", CaseStatus.OPEN)
    Subscription.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1), subscriber=LISTEN)
    subscriptions.run_subscription(subscription.pk)
    case.refresh_from_db()
    assert case.status == CaseStatus.RESOLVED


def test_a_subscriber_that_takes_its_worker_down_every_time_is_shown_to_a_person(visit: Visit) -> None:
    subscription = owe("visit.seen", LISTEN, visit)
    # What killed workers leave: it was taken, its lease ran out, and nothing was said.
    with override_settings(LEASE_SECONDS=-1):
        for _ in range(subscriptions.ATTEMPTS_UNTIL_CASE):
            assert leases.take(Subscription.objects.all(), subscription.pk)
    shown = []
    with patch(f"{__name__}.listen", lambda _: shown.append(ExceptionCase.objects.get().status)):
        subscriptions.run_subscription(subscription.pk)
    assert shown == [CaseStatus.OPEN], "before it is tried once more"
    assert ExceptionCase.objects.get().status == CaseStatus.RESOLVED


def test_what_is_gathered_is_not_rung_for_and_done_together_by_the_sweep(visit: Visit) -> None:
    rung: list[Any] = []
    with (
        override_settings(EVENT_SUBSCRIBERS={"visit.seen": [LISTEN]}, GATHERED_SUBSCRIBERS={LISTEN: LISTEN_TO_ALL}),
        patch("orchestrator.services.workflow.ring", lambda *args, **_: rung.append(args)),
        patch.object(subscriptions, "ring", lambda *args, **_: rung.append(args)),
    ):
        for _ in range(3):
            record("visit.seen", visit)
        subscriptions.ring_due()
        subscriptions.run_gathered()
        subscriptions.run_gathered()
    assert (rung, heard) == ([], [visit.pk, 1])
    assert set(Subscription.objects.values_list("status", flat=True)) == {SubscriptionStatus.DONE}


def test_what_fails_together_is_done_one_by_one_and_what_fails_then_goes_on_by_itself(visit: Visit) -> None:
    with override_settings(EVENT_SUBSCRIBERS={"visit.seen": [LISTEN, FAIL]}):
        record("visit.seen", visit)
    good, bad = Subscription.objects.order_by("pk")
    rung: list[Any] = []
    both = dict.fromkeys((LISTEN, FAIL), FAIL_FOR_ALL)
    with (
        override_settings(GATHERED_SUBSCRIBERS=both),
        patch.object(subscriptions, "ring", lambda *args, **_: rung.append(args)),
    ):
        subscriptions.run_gathered()
        Subscription.objects.filter(pk=bad.pk).update(next_attempt_at=timezone.now() - timedelta(seconds=1))
        subscriptions.run_gathered()
        subscriptions.ring_due()
    good.refresh_from_db()
    bad.refresh_from_db()
    assert (good.status, bad.status, bad.attempts) == (SubscriptionStatus.DONE, SubscriptionStatus.PENDING, 1)
    assert rung == [("orchestrator.tasks.run_subscription", bad.pk)]


def test_a_subscriber_that_does_not_exist_is_shown_and_no_other_waits_for_it(visit: Visit) -> None:
    gone = owe("visit.seen", "routing.services.gone", visit)
    for _ in range(subscriptions.ATTEMPTS_UNTIL_CASE):
        Subscription.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))
        subscriptions.run_subscription(gone.pk)
    assert ExceptionCase.objects.get().source == "routing.services.gone"
    with override_settings(EVENT_SUBSCRIBERS={"visit.seen": [LISTEN]}):
        record("visit.seen", visit)
    subscriptions.run_subscription(Subscription.objects.latest("pk").pk)
    assert heard == [visit.pk]


swept: list[str] = []


def sweep_that_breaks() -> None:
    swept.append("broken")
    raise RuntimeError("disk on fire")


def sweep_after_it() -> None:
    swept.append("after")


def test_a_broken_sweep_does_not_starve_those_after_it(caplog: pytest.LogCaptureFixture) -> None:
    swept.clear()
    names = [f"{__name__}.sweep_that_breaks", "routing.services.gone.ring", f"{__name__}.sweep_after_it"]
    with override_settings(SWEEPS=names):
        tasks.sweep()
    assert swept == ["broken", "after"]
    assert "disk on fire" in caplog.text


def test_the_sweep_rings_for_what_a_dead_worker_left(visit: Visit) -> None:
    subscription = owe("visit.seen", LISTEN, visit)
    rung: list[Any] = []
    with patch("orchestrator.services.subscriptions.ring", lambda *asked, **_: rung.append(asked)):
        assert leases.take(Subscription.objects.all(), subscription.pk)
        subscriptions.ring_due()
        assert rung == [], "its worker is alive"
        Subscription.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        subscriptions.ring_due()
    assert rung == [("orchestrator.tasks.run_subscription", subscription.pk)]


def test_only_one_worker_can_take_the_same_work(visit: Visit) -> None:
    subscription = owe("visit.seen", LISTEN, visit)
    first = leases.take(Subscription.objects.all(), subscription.pk)
    second = leases.take(Subscription.objects.all(), subscription.pk)
    assert first is not None
    assert second is None


@pytest.mark.django_db(transaction=True)
def test_a_subscription_is_held_for_as_long_as_its_subscriber_needs(visit: Visit) -> None:
    subscription = owe("visit.seen", LISTEN, visit)
    taken: list[Subscription | None] = []

    def lease() -> datetime | None:
        return Subscription.objects.get(pk=subscription.pk).lease_until

    def slowly(_: int) -> None:
        begun = lease()
        assert begun is not None
        over = begun + timedelta(seconds=2)
        wait_for(lambda: (lease() or begun) > over, what="a lease that is renewed")
        taken.append(leases.take(Subscription.objects.all(), subscription.pk))

    with override_settings(LEASE_SECONDS=1), patch(f"{__name__}.listen", slowly):
        subscriptions.run_subscription(subscription.pk)
    assert taken == [None]
    subscription.refresh_from_db()
    assert (subscription.status, subscription.lease_until) == (SubscriptionStatus.DONE, None)


@pytest.mark.django_db(transaction=True)
def test_who_hangs_is_not_held_for_ever_and_what_is_over_is_not_renewed(visit: Visit) -> None:
    subscription = owe("visit.seen", LISTEN, visit)
    with override_settings(LEASE_SECONDS=0.3):
        hanging = leases.take(Subscription.objects.all(), subscription.pk)
        assert hanging is not None
        with leases.held(hanging, longest=0.5):
            take = partial(leases.take, Subscription.objects.all(), subscription.pk)
            another = wait_for(take, what="that another may try it", seconds=20)
        leases.settle(another, status=SubscriptionStatus.DONE)
        for each in (hanging, another):
            with pytest.raises(LeaseLost):
                leases.renew(each)
    subscription.refresh_from_db()
    assert subscription.lease_until is None


def test_a_worker_whose_lease_ran_out_cannot_write_its_outcome(visit: Visit) -> None:
    subscription = owe("visit.seen", LISTEN, visit)
    with override_settings(LEASE_SECONDS=-1):
        slow = leases.take(Subscription.objects.all(), subscription.pk)
    quick = leases.take(Subscription.objects.all(), subscription.pk)
    assert slow is not None
    assert quick is not None
    with pytest.raises(LeaseLost):
        leases.settle(slow, status=SubscriptionStatus.DONE)
    with pytest.raises(LeaseLost):
        leases.renew(slow)
    with pytest.raises(LeaseLost):
        leases.postpone(slow, error="late")
    leases.settle(quick, status=SubscriptionStatus.DONE)
    subscription.refresh_from_db()
    assert subscription.status == SubscriptionStatus.DONE


def test_backoff_grows_and_is_capped() -> None:
    waits = [leases.backoff(n, base=2, cap=100).total_seconds() for n in range(1, 12)]
    assert all(wait <= 100 for wait in waits)
    assert all(2 ** (n - 1) <= waits[n - 1] <= 2**n for n in range(1, 6))


def test_a_user_change_is_in_the_history_with_the_user() -> None:
    admin = User.objects.create_user("admin2")
    with acting(Actor(ActorKind.USER, admin.username, admin.pk), "asked by the ward"):
        site = Site.objects.create(code="N", name="North")
    newest: Any = site.history.latest()
    assert newest.history_user == admin
    assert newest.history_change_reason == "asked by the ward"
