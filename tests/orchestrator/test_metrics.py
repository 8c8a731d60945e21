"""/metrics: numbers of what waits, for this machine or a token; no names."""

import datetime as dt

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from orchestrator.models import HL7Application, InboundMessage, Role, Subscription
from orchestrator.services.tokens import create_token
from orchestrator.states import Identity, InboundStatus
from routing.services import destinations
from routing.services.route import send_study
from tests.factories import make_order, make_site, make_study, make_user

pytestmark = pytest.mark.django_db
ELSEWHERE = "10.0.0.7"


def scraped(client: Client) -> dict[tuple[str, ...], float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_what_waits_is_counted_by_queue_and_state_with_the_age_of_the_oldest(client: Client) -> None:
    site = make_site()
    interface = HL7Application.objects.create(name="RIS", site=site)
    for number, minutes in enumerate((1, 10)):
        InboundMessage.objects.create(
            interface=interface, site=site, raw=b"", digest="d", sequence=number, status=InboundStatus.QUARANTINED,
            received_at=timezone.now() - dt.timedelta(minutes=minutes),
        )  # fmt: skip
    Subscription.objects.create(event_id=1, event_name="x", subject_id=1, subscriber="x", queue="rest")
    order = make_order(accession_number="A1")
    study = make_study(order, identity=Identity.MATCHED, matched_by="auto", matched_patient=order.patient)
    study.claims.update(order=order)
    archive = destinations.create(name="Archive", ae_title="ARCHIVE", host="127.0.0.1", port=9, site=site)
    send_study(study=study, destinations=[archive], user=make_user(), reason="second opinion")
    found = scraped(client)
    assert found["fiducial_waiting", "messages", "QUARANTINED"] == 2
    assert 600 <= found["fiducial_waiting_oldest_seconds", "messages", "QUARANTINED"] < 660
    assert found["fiducial_waiting", "messages", "RECEIVED"] == 0
    assert found["fiducial_waiting", "subscriptions", "PENDING"] >= 1
    assert found["fiducial_waiting", "deliveries", "QUEUED"] == 1
    assert found["fiducial_waiting", "cases", "OPEN"] == 0
    assert found["fiducial_waiting", "jobs", "RUNNING"] == 0
    assert found["fiducial_studies_day", "PENDING"] == 1
    assert found["fiducial_studies_unsettled", "HELD"] == 0
    assert found["fiducial_spool_free_bytes",] > 0


def test_from_elsewhere_a_token_of_all_sites_is_needed(client: Client) -> None:
    north = make_site("NORTH")
    keys = {
        "nobody's": ("nonsense", 401),
        "a reader's": (create_token(user=make_user(Role.READER), name="x"), 401),
        "of one site": (create_token(user=make_user(Role.MANAGER, site=north), name="x"), 401),
        "an integration's": (create_token(user=make_user(Role.INTEGRATION), name="x"), 200),
    }
    assert client.get("/metrics", REMOTE_ADDR=ELSEWHERE).status_code == 401
    for whose, (key, expected) in keys.items():
        for scheme in ("Token", "Bearer"):
            answer = client.get("/metrics", REMOTE_ADDR=ELSEWHERE, headers={"Authorization": f"{scheme} {key}"})
            assert answer.status_code == expected, whose
    client.force_login(make_user(Role.ADMINISTRATOR))
    assert client.get("/metrics", REMOTE_ADDR=ELSEWHERE).status_code == 401, "a browser's session is no token"


def test_whoever_comes_through_a_proxy_on_this_machine_is_not_this_machine(client: Client, settings: Settings) -> None:
    assert client.get("/metrics", headers={"X-Forwarded-For": ELSEWHERE}).status_code == 401
    settings.BEHIND_PROXY = True
    assert client.get("/metrics").status_code == 401
