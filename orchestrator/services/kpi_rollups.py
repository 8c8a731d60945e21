"""Keeping what the KPIs count: the facts of one subject are computed anew, and its tallies move by the difference.

Subscribers of the events that matter (settings.EVENT_SUBSCRIBERS; GATHERED_SUBSCRIBERS, since many subjects at once
cost little more than one): at least once, in any order, several at a time. Each locks its subjects, computes the facts
from all that has been committed about them, and writes what is different; an event that is committed later brings its
own subscription. So nothing is counted twice and nothing is left out.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.db.models import Count, F, Min, Model, QuerySet
from django.utils import timezone

from orchestrator.kpis import counting
from orchestrator.kpis.counting import Fact, Happening
from orchestrator.models import (
    WHOLE_DAY,
    ExceptionCase,
    IdentityClaim,
    ImagingServiceRequest,
    KpiFact,
    KpiSubject,
    KpiTally,
    Site,
    Study,
    Subscription,
    WorkflowEvent,
)
from orchestrator.services.subscriptions import ATTEMPTS_UNTIL_CASE
from orchestrator.states import SubscriptionStatus

_DIMENSIONS = ("subject", "hour", "day", "site_id", "modality", "source", "outcome", "reason")
_BATCH = 500
_A_DAY = dt.timedelta(days=1)
# Subject, hour, day, site, modality, source, outcome, reason: as _DIMENSIONS.
Key = tuple[Any, ...]


class Written(NamedTuple):
    """A row of KpiFact, its id apart: what is written, and what is compared."""

    subject: str
    subject_id: int
    number: int
    day: dt.date
    hour: int
    site_id: int
    modality: str
    source: str
    outcome: str
    reason: str
    at: dt.datetime
    until: dt.datetime | None
    seconds: float | None

    def tallies(self) -> Iterator[Key]:
        """The tallies that it counts in."""
        rest = (self.day, self.site_id, self.modality, self.source, self.outcome, self.reason)
        return ((self.subject, hour, *rest) for hour in (self.hour, WHOLE_DAY))


class _Rule(NamedTuple):
    """Where a subject's row and events are."""

    model: type[Model]
    # The column of WorkflowEvent that holds the subject's id.
    column: str
    names: tuple[str, ...]


_RULES: Mapping[str, _Rule] = {
    KpiSubject.STUDY: _Rule(Study, "study_id", (*counting.JUDGEMENTS, "case.opened")),
    KpiSubject.CASE: _Rule(ExceptionCase, "subject_id", tuple(counting.CASE_MOVES)),
    KpiSubject.ORDER: _Rule(ImagingServiceRequest, "order_id", ("order.scheduled",)),
}


def _counter(subject: KpiSubject, ids: Sequence[int]) -> Callable[[Sequence[Happening]], list[Fact]]:
    """What computes the facts of one of these subjects from its events."""
    if subject == KpiSubject.STUDY:
        claims = IdentityClaim.objects.filter(study_id__in=list(ids))
        origins = {
            pk: (modality, title) for pk, modality, title in claims.values_list("pk", "modality", "calling_ae_title")
        }
        return partial(counting.of_study, origins=origins)
    return counting.of_case if subject == KpiSubject.CASE else counting.of_order


def claim_judged(claim_id: int) -> None:
    """Subscriber of claim.matched, claim.held and claim.rejected; may run twice. Cases open in their transactions."""
    claims_judged([claim_id])


def claims_judged(claim_ids: Sequence[int]) -> None:
    studies = IdentityClaim.objects.filter(pk__in=claim_ids).values_list("study_id", flat=True)
    recount(KpiSubject.STUDY, sorted(set(studies)))


def case_moved(case_id: int) -> None:
    """Subscriber of case.opened, case.reopened, case.resolved and case.dismissed; may run twice."""
    cases_moved([case_id])


def cases_moved(case_ids: Sequence[int]) -> None:
    recount(KpiSubject.CASE, case_ids)


def order_scheduled(order_id: int) -> None:
    """Subscriber of order.scheduled; may run twice."""
    orders_scheduled([order_id])


def orders_scheduled(order_ids: Sequence[int]) -> None:
    recount(KpiSubject.ORDER, order_ids)


@transaction.atomic
def recount(subject: KpiSubject, ids: Sequence[int]) -> None:
    """Bring the facts and tallies of these subjects up to date."""
    _move(_rewrite(subject, ids))


def direct(subject: KpiSubject, ids: Sequence[int]) -> list[Written]:
    """The facts of these subjects, computed from their events and nothing else."""
    rule, count = _RULES[subject], _counter(subject, ids)
    events: dict[int, list[Happening]] = {}
    rows = WorkflowEvent.objects.filter(**{f"{rule.column}__in": list(ids)}, name__in=rule.names)
    if rule.column == "subject_id":
        rows = rows.filter(subject_type=rule.model._meta.model_name)
    columns = ("pk", "name", "at", "subject_id", "site_id", "actor_name", "detail")
    for of, *values in rows.values_list(rule.column, *columns):
        events.setdefault(of, []).append(Happening(*values))
    zones = {pk: ZoneInfo(zone) for pk, zone in Site.objects.values_list("pk", "time_zone")}
    return [
        Written(
            str(subject), subject_id, number, *fact.local(zones[fact.site_id]), fact.site_id, fact.modality,
            fact.source, str(fact.outcome), fact.reason, fact.at, fact.until, fact.seconds,
        )
        for subject_id in sorted(events) for number, fact in enumerate(count(events[subject_id]))
    ]  # fmt: skip


def _rewrite(subject: KpiSubject, ids: Sequence[int]) -> Counter[Key]:
    """Write the facts that are different; answers by how much each tally is to move."""
    subjects = _RULES[subject].model._default_manager.select_for_update(of=("self",), no_key=True)
    list(subjects.filter(pk__in=ids).order_by("pk").values_list("pk"))
    # Locked too: not while `rebuild` counts them.
    facts = KpiFact.objects.select_for_update().filter(subject=subject, subject_id__in=ids)
    before = {Written(*row): pk for pk, *row in facts.values_list("pk", *Written._fields)}
    after = set(direct(subject, ids))
    gone, new = before.keys() - after, after - before.keys()
    if gone:
        KpiFact.objects.filter(pk__in=[before[fact] for fact in gone]).delete()
    if new:
        KpiFact.objects.bulk_create([KpiFact(**fact._asdict()) for fact in sorted(new, key=lambda fact: fact[:3])])
    moves = Counter(key for fact in new for key in fact.tallies())
    moves.subtract(key for fact in gone for key in fact.tallies())
    return moves


def _move(moves: Mapping[Key, int]) -> None:
    """Two workers move the same tallies in one order: neither waits for the other in a circle."""
    for key in sorted(key for key, by in moves.items() if by):
        named = dict(zip(_DIMENSIONS, key, strict=True))
        tally = KpiTally.objects.filter(**named)
        if not tally.update(count=F("count") + moves[key]):
            # Of two who make it at once one does, and both move it.
            KpiTally.objects.bulk_create([KpiTally(**named, count=0)], ignore_conflicts=True)
            tally.update(count=F("count") + moves[key])


def rebuild() -> int:
    """Compute all facts and tallies anew; answers how many facts there are. Workers may go on meanwhile.

    For whoever changed events without an event (history that was dated back) or a site's time zone. Tallies are made
    what the facts say before facts are made what the events say: so no tally moves below nothing.
    """
    for subject in KpiSubject:
        of_facts = KpiFact.objects.filter(subject=subject).values_list("day", flat=True).distinct()
        of_tallies = KpiTally.objects.filter(subject=subject).values_list("day", flat=True).distinct()
        for day in sorted({*of_facts, *of_tallies}):
            _tally_day(subject, day)
    for subject in KpiSubject:
        for ids in _batches(_all_ids(subject)):
            recount(subject, ids)
    return KpiFact.objects.count()


@transaction.atomic
def _tally_day(subject: KpiSubject, day: dt.date) -> None:
    """Count the facts of a day. None of them changes meanwhile: recount waits for this table, or this for it."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {KpiFact._meta.db_table} IN EXCLUSIVE MODE")
    counted = _counted(subject, day)
    # Each hour is named for the index, in which it stands before the day.
    tallies = KpiTally.objects.filter(subject=subject, hour__in=[WHOLE_DAY, *range(24)], day=day)
    if _kept(tallies) == counted:
        return
    tallies.delete()
    KpiTally.objects.bulk_create(
        [KpiTally(**dict(zip(_DIMENSIONS, key, strict=True)), count=number) for key, number in counted.items()],
        batch_size=_BATCH,
    )


def _kept(rows: QuerySet[KpiTally]) -> Counter[Key]:
    kept = rows.filter(count__gt=0).values_list(*_DIMENSIONS, "count")
    return Counter({tuple(key): number for *key, number in kept})


def _counted(subject: KpiSubject, day: dt.date) -> Counter[Key]:
    # The index is by moment; a day by the clock of a site lies within a day of one in UTC.
    begin = dt.datetime.combine(day, dt.time(), dt.UTC)
    facts = KpiFact.objects.filter(subject=subject, day=day, at__gte=begin - _A_DAY, at__lt=begin + 2 * _A_DAY)
    counts: Counter[Key] = Counter()
    for _, hour, *rest, number in facts.values_list(*_DIMENSIONS).annotate(number=Count("*")).order_by():
        counts[str(subject), hour, *rest] += number
        counts[str(subject), WHOLE_DAY, *rest] += number
    return counts


def differences(since: dt.date | None = None) -> dict[Key, tuple[int, int]]:
    """Tallies that are not what a direct count over the events gives: (tally, direct count). All, or from a day on."""
    counted: Counter[Key] = Counter()
    for subject in KpiSubject:
        for ids in _batches(_all_ids(subject, since)):
            counted.update(key for fact in direct(subject, ids) for key in fact.tallies())
    rows = KpiTally.objects.all()
    if since is not None:
        rows = rows.filter(day__gte=since)
        counted = Counter({key: number for key, number in counted.items() if key[2] >= since})
    kept = _kept(rows)
    return {key: (kept[key], counted[key]) for key in {*kept, *counted} if kept[key] != counted[key]}


def lasting_differences(since: dt.date | None = None) -> dict[Key, tuple[int, int]]:
    """Differences that no work under way explains: there in two looks, and of nothing that moves meanwhile."""
    begun = timezone.now()
    if not (first := differences(since)):
        return {}
    moving = _moving(begun)
    second = differences(since)
    moving |= _moving(begun)
    return {key: both for key, both in second.items() if key in first and key not in moving}


def _moving(since: dt.datetime) -> set[Key]:
    """Tallies of subjects with events that are not gathered yet, or that came since then."""
    keys: set[Key] = set()
    for subject, rule in _RULES.items():
        moved = WorkflowEvent.objects.filter(name__in=rule.names)
        owed = list(waiting().filter(event_name__in=rule.names).values_list("event_id", flat=True))
        # Each from its index: both in one question would read all that ever happened.
        found = [moved.filter(at__gte=since), *(moved.filter(pk__in=events) for events in _batches(owed))]
        moving = {key for rows in found for key in rows.values_list(rule.column, flat=True) if key is not None}
        for ids in _batches(sorted(moving)):
            facts = KpiFact.objects.filter(subject=subject, subject_id__in=ids).values_list(*Written._fields)
            written = [*direct(KpiSubject(subject), ids), *(Written(*row) for row in facts)]
            keys.update(key for fact in written for key in fact.tallies())
    return keys


def waiting() -> QuerySet[Subscription]:
    """What happened and is not counted yet."""
    owed = Subscription.objects.filter(status=SubscriptionStatus.PENDING, subscriber__startswith=f"{__name__}.")
    # What is done has no next time: that alone is looked up in an index, however much was done.
    return owed.filter(next_attempt_at__isnull=False)


def counted_to() -> dt.datetime:
    """Until when all that happened is counted. What fails again and again has a case of its own."""
    owed = waiting().filter(attempts__lt=ATTEMPTS_UNTIL_CASE)
    oldest: dt.datetime | None = owed.aggregate(oldest=Min("created_at"))["oldest"]
    return oldest or timezone.now()


def _all_ids(subject: KpiSubject, since: dt.date | None = None) -> list[int]:
    """Subjects with events that count, from a day on (a day earlier: by the clock of the westernmost site)."""
    rule = _RULES[subject]
    rows = WorkflowEvent.objects.filter(name__in=rule.names).exclude(**{rule.column: None})
    if since is not None:
        rows = rows.filter(at__gte=dt.datetime.combine(since, dt.time(), dt.UTC) - _A_DAY)
    known = set(rows.values_list(rule.column, flat=True).distinct())
    if since is None:
        known |= set(KpiFact.objects.filter(subject=subject).values_list("subject_id", flat=True))
    return sorted(known)


def _batches(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    return (ids[begin : begin + _BATCH] for begin in range(0, len(ids), _BATCH))
