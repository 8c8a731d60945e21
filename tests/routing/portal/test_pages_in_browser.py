"""The pages of destinations and deliveries in a real browser: readable by all, echo and dialogs at work."""

from collections.abc import Callable

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from orchestrator.models import Hop, Study, WorkflowEvent
from orchestrator.services.exceptions import open_case
from routing.models import DeliveredInstance, Delivery, DeliveryAttempt, Destination
from routing.services import deliver, destinations
from tests.accessibility import violations, violations_in_both_themes
from tests.factories import make_order, make_patient, make_site, make_study
from tests.peers import free_port

pytestmark = [
    pytest.mark.peer("chromium"),
    # pynetdicom leaves a socket that found nobody to the garbage collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"),
]

Open = Callable[..., Page]


@pytest.fixture
def failed(transactional_db: None) -> Delivery:
    """A delivery that failed at its second object, one that went well, and a paused destination."""
    site = make_site()
    archive = destinations.create(
        name="Central archive", ae_title="ARCHIVE", host="127.0.0.1", port=free_port(), required_for_custody=True
    )
    night = destinations.create(name="Night reading", ae_title="NIGHT_PACS", host="night.example.org", port=11112)
    deliver.set_paused(night, paused=True, reason="Moves to the new machine tonight")
    patient = make_patient(name="Lindqvist^Åsa")
    study = make_study(make_order(patient=patient), instances=3)
    Study.objects.filter(pk=study.pk).update(
        patient=patient, study_description="CT head without contrast", study_date="20260705"
    )
    delivery = _delivery(study, archive, "FAILED", sent=1)
    open_case(
        "delivery_failed", about=delivery, reason_code="DELIVERY_FAILED", summary="1 of 3", site=site, study=study
    )
    _delivery(study, night, "QUEUED", sent=0)
    other = make_study(make_order(patient=patient), instances=1)
    _delivery(other, archive, "SENT", sent=1)
    Hop.objects.create(study=other, device=archive.device, rendition="original")
    return delivery


def _delivery(study: Study, destination: Destination, status: str, *, sent: int) -> Delivery:
    error = "status A900: Data Set does not match SOP Class" if status == "FAILED" else ""
    delivery = Delivery.objects.create(
        study=study, destination=destination, rendition="original", status=status, rule="CT to the archive",
        last_error=error, attempts=8 if error else 0, finished_at=None if status == "QUEUED" else timezone.now(),
        next_attempt_at=timezone.now() if status == "QUEUED" else None,
    )  # fmt: skip
    for number, instance in enumerate(study.instances.order_by("pk")):
        there = number < sent
        DeliveredInstance.objects.create(
            delivery=delivery, instance=instance, status="SENT" if there else status,
            dimse_status=0 if there else 0xA900 if error else None, error="" if there else error,
        )  # fmt: skip
    if error:
        DeliveryAttempt.objects.create(
            delivery=delivery, started_at=timezone.now(), sent=sent, outcome=status, error=error
        )
    return delivery


@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_breaks_an_accessibility_rule_or_scrolls_sideways(
    open_page: Open, failed: Delivery, width: int
) -> None:
    page = open_page("/destinations/", width=width)
    assert violations_in_both_themes(page) == []
    for path in (
        f"/destinations/{failed.destination_id}/", "/deliveries/", f"/deliveries/{failed.pk}/",
        f"/studies/{failed.study_id}/",
    ):  # fmt: skip
        page.goto(path)
        assert violations_in_both_themes(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_an_echo_is_told_by_a_toast_and_stands_on_the_page_without_reload(open_page: Open, failed: Delivery) -> None:
    page = open_page(f"/destinations/{failed.destination_id}/")
    page.evaluate("window.stayed = true")
    page.keyboard.press("e")
    expect(page.locator("#toasts")).to_contain_text("could not be reached")
    expect(page.locator("#destination")).to_contain_text("Does not answer")
    assert page.evaluate("window.stayed") is True
    assert WorkflowEvent.objects.filter(name="destination.echoed").count() == 1


def test_a_failed_delivery_is_tried_again_by_a_dialog(open_page: Open, failed: Delivery) -> None:
    page = open_page(f"/deliveries/{failed.pk}/")
    page.keyboard.press("r")
    dialog = page.locator("#dialog[open]")
    expect(dialog).to_contain_text("2 of 3 objects go to Central archive")
    assert violations(page) == []
    dialog.get_by_label("Reason").fill("Archive repaired")
    dialog.get_by_role("button", name="Try again").click()
    expect(page.locator("#delivery")).to_contain_text("“Archive repaired”")
    failed.refresh_from_db()
    assert failed.status == "RETRYING"
