"""What the KPIs count: facts and tallies equal a direct count over the events, whatever happens in whatever order."""

import datetime as dt
from typing import Any

import pytest
from django.conf import settings as product
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.module_loading import import_string
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.kpis.counting import Outcome
from orchestrator.models import (
    WHOLE_DAY,
    ExceptionCase,
    IdentityClaim,
    KpiFact,
    KpiSubject,
    KpiTally,
    Site,
    Subscription,
    WorkflowEvent,
)
from orchestrator.services import diagnostics, kpi_rollups
from orchestrator.services.diagnostics import Level
from orchestrator.services.subscriptions import run_subscription
from orchestrator.services.workflow import transition
from orchestrator.states import MACHINES
from tests.factories import make_site
from tests.orchestrator.kpi_histories import (
    AT,
    another_claim,
    judge,
    judged_study,
    move_case,
    opened_case,
    scheduled_order,
)
from tests.orchestrator.population import populate

OURS = "orchestrator.services.kpi_rollups."
HOUR = dt.timedelta(hours=1)


def deliver() -> None:
    """Each subscription of ours, as workers run them."""
    for pk in Subscription.objects.filter(subscriber__startswith=OURS, status="PENDING").values_list("pk", flat=True):
        run_subscription(pk)


def tallies(subject: KpiSubject, **filters: Any) -> list[tuple[str, str, int]]:
    rows = KpiTally.objects.filter(subject=subject, hour=WHOLE_DAY, count__gt=0, **filters)
    return sorted(rows.values_list("outcome", "reason", "count"))


@pytest.mark.django_db
def test_a_study_counts_once_when_first_judged_by_the_clock_of_its_site() -> None:
    site = make_site("B")
    Site.objects.filter(pk=site.pk).update(time_zone="Europe/Berlin")
    study = judged_study("matched", site=site)
    deliver()
    judge(IdentityClaim.objects.get(study=study), "held")
    deliver()
    fact = KpiFact.objects.get(subject=KpiSubject.STUDY)
    assert (fact.day, fact.hour, fact.at, fact.subject_id) == (dt.date(2026, 7, 6), 1, AT, study.pk)
    assert (fact.modality, fact.source) == ("CT", "CT_NORTH")
    assert sorted(KpiTally.objects.filter(count=1, subject="study").values_list("hour", flat=True)) == [WHOLE_DAY, 1]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("events", "by", "outcome", "reason"),
    [
        (("matched",), "auto", Outcome.AUTO, ""),
        (("matched",), "person", Outcome.PERSON, ""),
        (("matched",), "order_created", Outcome.PERSON, ""),
        (("held",), "", Outcome.HELD, "NO_ORDER"),
        (("held", "matched"), "person", Outcome.PERSON, "NO_ORDER"),
        # A late order settled it: nobody had to; it was a mismatch all the same.
        (("held", "matched"), "auto", Outcome.AUTO, "NO_ORDER"),
        (("held", "rejected"), "", Outcome.PERSON, "NO_ORDER"),
        # An undo: held again.
        (("held", "matched", "held"), "person", Outcome.HELD, "NO_ORDER"),
        ((), "", None, ""),
    ],
)
def test_what_a_study_came_to(events: tuple[str, ...], by: str, outcome: str | None, reason: str) -> None:
    judged_study(*events, by=by)
    deliver()
    assert tallies(KpiSubject.STUDY) == ([(outcome, reason, 1)] if outcome else [])


@pytest.mark.django_db
def test_a_study_is_as_the_worst_of_its_claims_and_counts_under_its_first() -> None:
    study = judged_study("matched")
    another_claim(study, "matched", by="person")
    deliver()
    assert tallies(KpiSubject.STUDY, modality="CT") == [(Outcome.PERSON, "", 1)]
    another_claim(study, "held")
    deliver()
    assert tallies(KpiSubject.STUDY, modality="CT") == [(Outcome.HELD, "NO_ORDER", 1)]
    assert KpiFact.objects.filter(subject=KpiSubject.STUDY).count() == 1


@pytest.mark.django_db
def test_a_study_counts_under_the_claim_that_was_judged_first_also_when_another_came_first() -> None:
    study = judged_study()
    another_claim(study, "matched")
    judge(study.claims.get(modality="CT"), "matched", matched_by="auto")
    deliver()
    fact = KpiFact.objects.get(subject=KpiSubject.STUDY)
    assert (fact.modality, fact.source) == ("SR", "CAD")


@pytest.mark.django_db
def test_a_case_counts_each_time_it_is_opened_and_settled_and_knows_how_long_it_was_open() -> None:
    case = opened_case(at=AT)
    for hours, event in enumerate(("claimed", "resolved", "reopened", "dismissed"), 1):
        move_case(case, event, at=AT + hours * HOUR)
    deliver()
    facts = KpiFact.objects.filter(subject=KpiSubject.CASE).order_by("number")
    assert [(fact.outcome, fact.at - AT, fact.until and fact.until - AT) for fact in facts] == [
        ("opened", 0 * HOUR, 2 * HOUR),
        ("resolved", 2 * HOUR, 2 * HOUR),
        ("reopened", 3 * HOUR, 4 * HOUR),
        ("dismissed", 4 * HOUR, 4 * HOUR),
    ]
    assert {(fact.reason, fact.source) for fact in facts} == {("no_route", "CT_NORTH")}


@pytest.mark.django_db
def test_an_order_counts_when_a_message_first_put_it_on_the_worklist() -> None:
    order = scheduled_order(0.8)
    transition(order, "order.scheduled")
    deliver()
    fact = KpiFact.objects.get(subject=KpiSubject.ORDER)
    assert (fact.seconds, fact.source, fact.modality) == (0.8, "RIS", "CT")


@pytest.mark.django_db
def test_what_is_delivered_twice_counts_once() -> None:
    judged_study("held")
    deliver()
    before = list(KpiTally.objects.order_by("pk").values())
    for name, subject_id in Subscription.objects.filter(subscriber__startswith=OURS).values_list(
        "subscriber", "subject_id"
    ):
        import_string(name)(subject_id)
    assert list(KpiTally.objects.order_by("pk").values()) == before
    assert sum(row["count"] for row in before if row["hour"] == WHOLE_DAY) == 2


RINGS = {
    KpiSubject.STUDY: "claim_judged",
    KpiSubject.CASE: "case_moved",
    KpiSubject.ORDER: "order_scheduled",
}


@pytest.mark.django_db
def test_every_event_that_counts_has_its_subscriber() -> None:
    """Else a fact would stay as it was: each rule's events ring for its subject."""
    rung: dict[str, set[str]] = {}
    for name, subscribers in product.EVENT_SUBSCRIBERS.items():
        for subscriber in subscribers:
            rung.setdefault(subscriber, set()).add(name)
    for subject, subscriber in RINGS.items():
        # A study's first case gives its reason; it opens in the transaction of the judgement that rings.
        with_the_judgement = {"case.opened"} if subject == KpiSubject.STUDY else set()
        assert rung[f"{OURS}{subscriber}"] == {*kpi_rollups._RULES[subject].names} - with_the_judgement
    assert RINGS.keys() == kpi_rollups._RULES.keys()
    assert {f"{OURS}{subscriber}" for subscriber in RINGS.values()} == {name for name in rung if name.startswith(OURS)}


_STUDY_EVENTS = st.tuples(st.just("claim"), st.integers(0, 2), st.sampled_from(["matched", "held", "rejected"]))
_CASE_EVENTS = st.tuples(
    st.just("case"), st.integers(0, 1), st.sampled_from(["claimed", "resolved", "dismissed", "reopened", "handed_back"])
)
_ORDER_EVENTS = st.tuples(st.just("order"), st.integers(0, 2), st.sampled_from(["0.0004", "0.8", "7.5", ""]))
_STEPS = st.lists(st.one_of(_STUDY_EVENTS, _CASE_EVENTS, _ORDER_EVENTS), max_size=10)


def _play(steps: list[tuple[str, int, str]], times: list[int]) -> None:
    """What may happen of these, at these hours."""
    sites = [make_site("MAIN"), make_site("EAST")]
    studies = [judged_study(site=site, calling_ae_title=f"AE{site.pk}") for site in sites]
    claims = [*(study.claims.get() for study in studies), another_claim(studies[0], "held")]
    cases = [opened_case(at=AT, site=site) for site in sites]
    for (what, number, event), hours in zip(steps, times, strict=False):
        at = AT + hours * HOUR
        if what == "order":
            scheduled_order(float(event), at=at, site=sites[number % 2]) if event else scheduled_order(1.0, at=at)
            continue
        row = (claims if what == "claim" else cases)[number]
        row.refresh_from_db()
        machine = MACHINES[what]
        if (getattr(row, machine.field), f"{what}.{event}") not in machine.transitions:
            continue
        if isinstance(row, IdentityClaim):
            judge(row, event, **({"matched_by": "auto" if hours % 2 else "person"} if event == "matched" else {}))
            WorkflowEvent.objects.filter(study_id=row.study_id, pk=_newest()).update(at=at)
        elif isinstance(row, ExceptionCase):
            move_case(row, event, at=at)


def _newest() -> int:
    return WorkflowEvent.objects.order_by("-pk").values_list("pk", flat=True)[0]


@pytest.mark.django_db
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_STEPS, st.lists(st.integers(0, 60), min_size=10, max_size=10), st.randoms(use_true_random=False))
def test_tallies_equal_a_direct_count_whatever_happened_and_however_it_was_delivered(
    steps: list[tuple[str, int, str]], times: list[int], dice: Any
) -> None:
    with transaction.atomic():
        _play(steps[: len(steps) // 2], times)
        owed = list(Subscription.objects.filter(subscriber__startswith=OURS).values_list("subscriber", "subject_id"))
        # Some early, in any order, some of them doubled; the rest, and all that follow, later.
        for name, subject_id in dice.sample(owed, len(owed) // 2):
            import_string(name)(subject_id)
        _play(steps[len(steps) // 2 :], times)
        owed = list(Subscription.objects.filter(subscriber__startswith=OURS).values_list("subscriber", "subject_id"))
        for name, subject_id in dice.sample(owed + owed[::3], len(owed) + len(owed[::3])):
            import_string(name)(subject_id)
        assert KpiFact.objects.exists()
        assert kpi_rollups.differences() == {}
        before = sorted(map(tuple, KpiTally.objects.filter(count__gt=0).values_list(*kpi_rollups._DIMENSIONS, "count")))
        kpi_rollups.rebuild()
        assert before == sorted(
            map(tuple, KpiTally.objects.filter(count__gt=0).values_list(*kpi_rollups._DIMENSIONS, "count"))
        )
        transaction.set_rollback(True)


@pytest.mark.django_db
def test_a_tally_that_drifted_and_a_fact_that_is_missing_are_told_and_mended() -> None:
    judged_study("held")
    opened_case(at=AT)
    deliver()
    assert kpi_rollups.differences() == {}
    KpiTally.objects.filter(subject=KpiSubject.STUDY, hour=WHOLE_DAY).update(count=7)
    [(key, (kept, counted))] = kpi_rollups.differences().items()
    assert (key[0], kept, counted) == ("study", 7, 1)
    KpiFact.objects.filter(subject=KpiSubject.STUDY).delete()
    kpi_rollups.rebuild()
    assert kpi_rollups.differences() == {}
    assert KpiFact.objects.filter(subject=KpiSubject.STUDY).count() == 1


@pytest.mark.django_db
def test_what_is_not_gathered_yet_is_no_difference_and_hides_none(capsys: pytest.CaptureFixture[str]) -> None:
    """As on every busy day: something always waits to be counted."""
    now = timezone.now()
    judged_study("matched", at=now - 2 * HOUR)
    deliver()
    study = judged_study("held", at=now - HOUR)
    deliver()
    judge(study.claims.get(), "matched", matched_by="person")
    WorkflowEvent.objects.filter(study_id=study.pk).update(at=now - HOUR)
    assert len(kpi_rollups.differences()) == 4, "from held to a person, of the hour and of the day"
    with CaptureQueriesContext(connection) as asked:
        assert kpi_rollups.lasting_differences() == {}
    assert not [each["sql"] for each in asked if " OR " in each["sql"]], "no index answers it"
    call_command("kpis", no_color=True)
    [told] = diagnostics.check_kpis()
    assert told.level is Level.OK
    assert "equal a direct count over the events; still to be counted: 1" in told.what
    KpiTally.objects.filter(outcome=Outcome.AUTO, hour=WHOLE_DAY).update(count=7)
    [(key, found)] = kpi_rollups.lasting_differences().items()
    assert (key[0], key[6], found) == ("study", Outcome.AUTO, (7, 1))
    assert diagnostics.check_kpis()[0].level is Level.WARN
    with pytest.raises(SystemExit):
        call_command("kpis")


@pytest.mark.django_db
def test_a_difference_that_is_gone_at_the_second_look_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    judged_study("matched")
    deliver()
    KpiTally.objects.update(count=7)
    look = kpi_rollups.differences

    def a_worker_comes_between(since: dt.date | None = None) -> Any:
        found = look(since)
        KpiTally.objects.update(count=1)
        return found

    monkeypatch.setattr(kpi_rollups, "differences", a_worker_comes_between)
    assert kpi_rollups.lasting_differences() == {}


@pytest.mark.django_db
def test_a_history_that_was_dated_back_is_counted_where_it_is_now() -> None:
    judged_study("matched", at=AT)
    deliver()
    WorkflowEvent.objects.update(at=AT - 30 * 24 * HOUR)
    assert kpi_rollups.differences()
    kpi_rollups.rebuild()
    assert kpi_rollups.differences() == {}
    assert KpiFact.objects.get().day == dt.date(2026, 6, 5)


@pytest.mark.django_db
def test_a_fact_whose_hour_changes_while_all_is_counted_anew_moves_no_tally_below_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claim = judged_study("matched", at=AT).claims.get()
    deliver()
    WorkflowEvent.objects.update(at=AT + HOUR)
    count_day = kpi_rollups._tally_day

    def a_worker_comes_first(*day: Any) -> None:
        WorkflowEvent.objects.update(at=F("at") + HOUR)
        kpi_rollups.claim_judged(claim.pk)
        count_day(*day)

    monkeypatch.setattr(kpi_rollups, "_tally_day", a_worker_comes_first)
    kpi_rollups.rebuild()
    assert KpiFact.objects.get().at > AT + HOUR
    assert kpi_rollups.differences() == {}


@pytest.mark.django_db
def test_the_benchmarks_population_is_counted_as_its_events_say() -> None:
    populate(60)
    assert {*KpiTally.objects.filter(count__gt=0).values_list("subject", flat=True)} == set(KpiSubject)
    before = list(KpiFact.objects.order_by("subject", "subject_id", "number").values_list(*kpi_rollups.Written._fields))
    assert kpi_rollups.differences() == {}
    kpi_rollups.rebuild()
    after = KpiFact.objects.order_by("subject", "subject_id", "number").values_list(*kpi_rollups.Written._fields)
    assert before == list(after)


@pytest.mark.django_db
def test_the_check_of_the_last_days_sees_them_only() -> None:
    judged_study("matched", at=AT)
    deliver()
    KpiTally.objects.update(count=9)
    assert kpi_rollups.differences(since=dt.date(2026, 7, 6)) == {}
    assert len(kpi_rollups.differences(since=dt.date(2026, 7, 5))) == 2
