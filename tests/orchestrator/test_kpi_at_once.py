"""Two workers at the KPIs of one study, and of one hour, on a real PostgreSQL."""

import datetime as dt
import threading
from functools import partial

import pytest
from django.db import transaction

from orchestrator.models import WHOLE_DAY, KpiFact, KpiSubject, KpiTally
from orchestrator.services import kpi_rollups
from orchestrator.services.workflow import transition
from tests.orchestrator.kpi_histories import AT, date_back, judged_study, opened_case
from tests.peers import wait_for
from tests.together import at_once, many_writers, somebody_waits_for_a_lock

pytestmark = [pytest.mark.django_db(transaction=True), many_writers]


def _count(subject: KpiSubject) -> int:
    return sum(
        KpiTally.objects.filter(subject=subject, hour=WHOLE_DAY).values_list("count", flat=True)
    )  # fmt: skip


def test_many_workers_at_one_study_count_it_once() -> None:
    claim = judged_study("held").claims.get()
    assert at_once(*[lambda: kpi_rollups.claim_judged(claim.pk)] * 6) == []
    assert (_count(KpiSubject.STUDY), KpiFact.objects.filter(subject=KpiSubject.STUDY).count()) == (1, 1)
    assert {key for key in kpi_rollups.differences() if key[0] == KpiSubject.STUDY} == set()


def test_workers_at_different_studies_of_one_hour_lose_no_count() -> None:
    claims = [judged_study("matched").claims.get().pk for _ in range(6)]
    assert at_once(*[partial(kpi_rollups.claim_judged, pk) for pk in claims]) == []
    assert _count(KpiSubject.STUDY) == 6
    assert kpi_rollups.differences() == {}


def test_what_is_committed_late_is_counted_by_its_own_event() -> None:
    """A worker that counts while the next judgement is still being written waits for it, or is told afterwards."""
    study = judged_study("held")
    claim = study.claims.get()
    written, seen = threading.Event(), threading.Event()

    def person() -> None:
        with transaction.atomic():
            type(study).objects.select_for_update(no_key=True).get(pk=study.pk)
            transition(claim, "claim.matched", detail={"matched_by": "person"})
            written.set()
            seen.wait(20)

    def worker() -> None:
        written.wait(20)
        kpi_rollups.claim_judged(claim.pk)

    def release() -> None:
        written.wait(20)
        wait_for(somebody_waits_for_a_lock, what="the worker at the study")
        seen.set()

    assert at_once(person, worker, release) == []
    kpi_rollups.claim_judged(claim.pk)
    assert KpiFact.objects.get(subject=KpiSubject.STUDY).outcome == "person"
    assert _count(KpiSubject.STUDY) == 1


def test_all_is_counted_anew_while_workers_go_on() -> None:
    claims = [judged_study("matched").claims.get().pk for _ in range(4)]
    cases = [opened_case(at=AT).pk for _ in range(4)]
    kpi_rollups.rebuild()

    def judged() -> None:
        for hours, pk in enumerate(claims, 1):
            date_back("identityclaim", pk, AT - hours * dt.timedelta(hours=1))
            kpi_rollups.claim_judged(pk)

    def moved() -> None:
        for pk in cases:
            kpi_rollups.case_moved(pk)

    assert at_once(kpi_rollups.rebuild, judged, moved, kpi_rollups.rebuild) == []
    assert kpi_rollups.differences() == {}
    assert (_count(KpiSubject.STUDY), _count(KpiSubject.CASE)) == (4, 4)
