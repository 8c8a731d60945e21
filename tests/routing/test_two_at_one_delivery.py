"""A study is routed while its delivery is concluded or canceled: nobody waits for somebody who waits for them."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.models import Study
from routing.models import Delivery
from routing.services import deliver as delivering
from routing.services import route
from routing.services.deliver import cancel
from routing.services.route import route_study
from tests.routing.ward import deliver, destination, matched_study, peer, publish, send_rule, state
from tests.together import at_once, many_writers

pytestmark = [pytest.mark.django_db(transaction=True), many_writers]


@pytest.fixture
def meet(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, str], None]:
    """Have both come to what is named, as far as the locks let them: who waits for a lock does not come."""
    met = threading.Barrier(2)

    def meet_(where: object, name: str) -> None:
        real = getattr(where, name)

        def after_meeting(*args: Any, **named: Any) -> Any:
            with contextlib.suppress(threading.BrokenBarrierError):
                met.wait(2)
            return real(*args, **named)

        monkeypatch.setattr(where, name, after_meeting)

    return meet_


@pytest.fixture
def queued() -> Iterator[tuple[Study, Delivery]]:
    with peer() as archive:
        study = matched_study()
        publish(send_rule(destination(archive.port)))
        route_study(study.pk)
        yield study, Delivery.objects.get()


def test_routing_and_a_person_who_cancels(queued: tuple[Study, Delivery], meet: Callable[[object, str], None]) -> None:
    study, delivery = queued
    # Here the one has the study, and the other the delivery.
    meet(route, "facts_of")
    meet(delivering, "resolve_about")
    assert not at_once(lambda: route_study(study.pk), lambda: cancel(delivery, reason="Wrong archive"))
    assert state(delivery) == ("CANCELED", ["QUEUED"])


def test_routing_and_a_worker_that_has_sent(
    queued: tuple[Study, Delivery], meet: Callable[[object, str], None]
) -> None:
    study, delivery = queued
    meet(route, "facts_of")
    meet(delivering, "_first_error")
    assert not at_once(lambda: route_study(study.pk), lambda: deliver(delivery.pk))
    assert state(delivery) == ("SENT", ["SENT"])
