"""The simulated hospital's dead archive: it takes the call, and nobody ever says a word."""

from collections.abc import Iterator

import pytest

from orchestrator.models import ExceptionCase
from orchestrator.simulator.archive import DeadArchive
from orchestrator.states import CASE_OPEN, DeliveryStatus
from routing.models import Line
from routing.transports import cstore
from tests.routing.ward import case, deliver, destination, is_due_again, matched_study, queued, state

pytestmark = pytest.mark.django_db


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where it listens; and we are less patient than usual."""
    monkeypatch.setattr(cstore, "ASSOCIATION_SECONDS", 0.2)
    archive = DeadArchive("LOST")
    yield archive.open(0)
    archive.close()


def test_a_delivery_to_the_dead_archive_is_tried_again_and_a_person_is_told(lost: int) -> None:
    delivery = queued(matched_study(), destination(lost, ae_title="LOST"))
    tries = 0
    while not ExceptionCase.objects.exists():
        is_due_again(delivery)
        deliver(delivery.pk)
        tries += 1
        assert tries < 20, "nobody is told"
    line = Line.objects.get(destination=delivery.destination_id)
    assert (line.attempts, state(delivery)[0]) == (tries, DeliveryStatus.RETRYING)
    assert line.next_attempt_at is not None
    assert line.last_error
    assert case("destination_silent").status in CASE_OPEN
