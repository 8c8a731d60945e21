"""On PostgreSQL: the lists and searches are read from the indexes that were made for them."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Count, QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orchestrator import selectors
from orchestrator.kpis.periods import A_DAY
from orchestrator.kpis.tallies import Tallies
from orchestrator.models import ClaimWord, InboundMessage, Instance, PatientWord
from orchestrator.permissions import Viewer
from routing.models import Delivery
from tests.factories import make_user
from tests.orchestrator.population import populate

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="another database plans otherwise")


@pytest.fixture
def viewer(db: None) -> Viewer:
    """Somebody who sees all; reading a table whole is as good as forbidden."""
    populate(300)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    return Viewer.of(make_user())


Read = Callable[[Viewer], QuerySet[Any]]
_LATEST = "-last_received_at", "-pk"

PLANS: dict[str, Read] = {
    "study_last_received": lambda viewer: selectors.studies(viewer).order_by(*_LATEST)[:51],
    "study_identity": lambda viewer: selectors.studies(viewer).filter(identity="REJECTED").order_by(*_LATEST)[:51],
    "study_custody": lambda viewer: selectors.studies(viewer).filter(custody="RECEIVING").order_by(*_LATEST)[:51],
    "study_site": lambda viewer: selectors.studies(viewer).filter(site_id=0).order_by(*_LATEST)[:51],
    "order_status_created": lambda viewer: (
        selectors.orders(viewer).filter(status="CANCELED").order_by("-created_at", "-pk")[:51]
    ),
    "message_status": lambda _: InboundMessage.objects.filter(status="QUARANTINED").order_by("-received_at")[:51],
    "message_interface": lambda _: InboundMessage.objects.filter(interface=3).order_by("-received_at")[:51],
    "message_control_id": lambda _: InboundMessage.objects.filter(control_id="MAIN7"),
    "delivery_destination": lambda _: Delivery.objects.filter(destination=0).order_by("-created_at")[:51],
    "delivery_site": lambda _: Delivery.objects.filter(site=0).order_by("-created_at")[:51],
    "case_open_due": lambda viewer: selectors.cases(viewer).order_by("due_at", "pk")[:51],
    "patient_word": lambda _: PatientWord.objects.filter(word__glob="SMI*").values("patient"),
    "claim_word": lambda _: ClaimWord.objects.filter(word__glob="SMI*").values("claim"),
    "step_day_modality": lambda viewer: selectors.steps_of_day(viewer, timezone.localdate()),
    "instance_sop": lambda _: Instance.objects.filter(sop_instance_uid__in=["1.2", "1.3"]),
}


@pytest.mark.parametrize("index", PLANS)
def test_a_list_is_read_from_its_index(viewer: Viewer, index: str) -> None:
    assert index in PLANS[index](viewer).explain()


def test_what_waits_is_counted_in_the_order_of_its_index(viewer: Viewer) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_hashagg = off")
        cursor.execute("SET LOCAL enable_incremental_sort = off")
    facets = selectors.cases(viewer).values("kind", "site_id", "modality", "source", "owner_id")
    assert "case_waiting" in facets.annotate(number=Count("*")).order_by().explain()


def test_days_and_parts_of_the_kpis_are_added_up_from_their_index_alone(viewer: Viewer) -> None:
    asked = Tallies(viewer, {}, timezone.localdate() - 700 * A_DAY, timezone.localdate())
    reads = (asked.judged, asked.judged_for_reasons, asked.durations, asked.moved)
    with CaptureQueriesContext(connection) as captured:
        for by in ("day", "site", "modality", "source", "reason"):
            for read in reads:
                read(by)
    with transaction.atomic(), connection.cursor() as cursor:
        # Without the other index of the same columns: no table is vacuumed here, and so neither is the dearer one.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE orchestrator_kpitally DROP CONSTRAINT kpi_tally_once")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        cursor.execute("SET LOCAL enable_sort = on")
        for query in captured:
            cursor.execute(f"EXPLAIN {query['sql']}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Index Only Scan using kpi_tally_days" in plan, plan
        transaction.set_rollback(True)
