"""Keeping what the KPIs count: the facts of one subject are computed anew, and its tallies move by the difference.

Subscribers of the events that matter (settings.EVENT_SUBSCRIBERS): at least once, in any order, several at a time. Each
locks its subject, computes the facts from all that has been committed about it, and writes what is different; an event
that is committed later brings its own subscription. So nothing is counted twice and nothing is left out.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.db.models import Count, F, Model
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
    WorkflowEvent,
)

_DIMENSIONS = ("subject", "hour", "day", "site_id", "modality", "source", "outcome", "reason")
_BATCH = 500
# Subject, hour, day, site, modality, source, outcome, reason: as _DIMENSIONS.
Key = tuple[Any, ...]


class _Rule(NamedTuple):
    """Where a subject's row and events are, and how its facts are computed from them."""

    model: type[Model]
    # The column of WorkflowEvent that holds the subject's id.
    column: str
    names: tuple[str, ...]
    facts: Callable[[Sequence[Happening]], list[Fact]]


def _of_study(events: Sequence[Happening]) -> list[Fact]:
    claims = IdentityClaim.objects.filter(pk__in={event.subject_id for event in events if event.name != "case.opened"})
    origins = {pk: (modality, title) for pk, modality, title in claims.values_list("pk", "modality", "calling_ae_title")}
    return counting.of_study(events, origins)


_RULES: Mapping[str, _Rule] = {
    KpiSubject.STUDY: _Rule(Study, "study_id", (*counting.JUDGEMENTS, "case.opened"), _of_study),
    KpiSubject.CASE: _Rule(ExceptionCase, "subject_id", tuple(counting.CASE_MOVES), counting.of_case),
    KpiSubject.ORDER: _Rule(ImagingServiceRequest, "order_id", ("order.scheduled",), counting.of_order),
}


def claim_judged(claim_id: int) -> None:
    """Subscriber of claim.matched, claim.held and claim.rejected; may run twice. Cases open in their transactions."""
    recount(KpiSubject.STUDY, [IdentityClaim.objects.values_list("study_id", flat=True).get(pk=claim_id)])


def case_moved(case_id: int) -> None:
    """Subscriber of case.opened, case.reopened, case.resolved and case.dismissed; may run twice."""
    recount(KpiSubject.CASE, [case_id])


def order_scheduled(order_id: int) -> None:
    """Subscriber of order.scheduled; may run twice."""
    recount(KpiSubject.ORDER, [order_id])


@transaction.atomic
def recount(subject: KpiSubject, ids: Sequence[int]) -> None:
    """Bring the facts and tallies of these subjects up to date."""
    _move(_rewrite(subject, ids))


def direct(subject: KpiSubject, ids: Sequence[int]) -> list[KpiFact]:
    """The facts of these subjects, computed from their events and nothing else; not saved."""
    rule = _RULES[subject]
    events: dict[int, list[Happening]] = {}
    rows = WorkflowEvent.objects.filter(**{f"{rule.column}__in": list(ids)}, name__in=rule.names)
    if rule.column == "subject_id":
        rows = rows.filter(subject_type=rule.model._meta.model_name)
    columns = ("pk", "name", "at", "subject_id", "site_id", "actor_name", "detail")
    for of, *values in rows.values_list(rule.column, *columns):
        events.setdefault(of, []).append(Happening(*values))
    zones = {site.pk: ZoneInfo(site.time_zone) for site in Site.objects.all()}
    found = []
    for subject_id in sorted(events):
        for number, fact in enumerate(rule.facts(events[subject_id])):
            day, hour = fact.local(zones[fact.site_id])
            found.append(
                KpiFact(
                    subject=subject, subject_id=subject_id, number=number, day=day, hour=hour, **fact._asdict()
                )
            )  # fmt: skip
    return found


def _rewrite(subject: KpiSubject, ids: Sequence[int]) -> Counter[Key]:
    """Write the facts that are different; answers by how much each tally is to move."""
    model = _RULES[subject].model
    list(
        model._default_manager.select_for_update(of=("self",), no_key=True)
        .filter(pk__in=ids).order_by("pk").values_list("pk")
    )  # fmt: skip
    # Locked too: not while `rebuild` counts them.
    before = {
        _written(fact): fact for fact in KpiFact.objects.select_for_update().filter(subject=subject, subject_id__in=ids)
    }
    after = {_written(fact): fact for fact in direct(subject, ids)}
    gone = [fact for key, fact in before.items() if key not in after]
    new = [fact for key, fact in after.items() if key not in before]
    if gone:
        KpiFact.objects.filter(pk__in=[fact.pk for fact in gone]).delete()
    if new:
        KpiFact.objects.bulk_create(new)
    moves = Counter(key for fact in new for key in _keys(fact))
    moves.subtract(key for fact in gone for key in _keys(fact))
    return moves


def _written(fact: KpiFact) -> tuple[Any, ...]:
    """All that a fact says, its id apart."""
    return tuple(getattr(fact, column.attname) for column in KpiFact._meta.concrete_fields if not column.primary_key)


def _keys(fact: KpiFact) -> Iterator[Key]:
    """The tallies that a fact counts in."""
    for hour in (fact.hour, WHOLE_DAY):
        yield (
            str(fact.subject), hour, fact.day, fact.site_id, fact.modality, fact.source, str(fact.outcome),
            fact.reason,
        )  # fmt: skip


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

    For whoever changed events without an event (history that was dated back) or a site's time zone.
    """
    for subject in KpiSubject:
        for ids in _batches(_all_ids(subject)):
            with transaction.atomic():
                _rewrite(subject, ids)
    days = {*KpiFact.objects.values_list("day", flat=True).distinct()}
    for day in sorted(days | {*KpiTally.objects.values_list("day", flat=True).distinct()}):
        _tally_day(day)
    return KpiFact.objects.count()


@transaction.atomic
def _tally_day(day: dt.date) -> None:
    """Count the facts of a day. None of them changes meanwhile: recount waits for this table, or this for it."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {KpiFact._meta.db_table} IN EXCLUSIVE MODE")
    KpiTally.objects.filter(day=day).delete()
    KpiTally.objects.bulk_create(
        [KpiTally(**dict(zip(_DIMENSIONS, key, strict=True)), count=count) for key, count in _counted(day).items()],
        batch_size=_BATCH,
    )


def _counted(day: dt.date) -> Counter[Key]:
    rows = KpiFact.objects.filter(day=day).values_list(*_DIMENSIONS).annotate(number=Count("pk")).order_by()
    counts: Counter[Key] = Counter()
    for subject, hour, *rest, number in rows:
        counts[subject, hour, *rest] += number
        counts[subject, WHOLE_DAY, *rest] += number
    return counts


def differences(since: dt.date | None = None) -> dict[Key, tuple[int, int]]:
    """Tallies that are not what a direct count over the events gives: (tally, direct count). All, or from a day on."""
    counted: Counter[Key] = Counter()
    for subject in KpiSubject:
        for ids in _batches(_all_ids(subject, since)):
            counted.update(key for fact in direct(subject, ids) for key in _keys(fact))
    rows = KpiTally.objects.filter(count__gt=0)
    if since is not None:
        rows = rows.filter(day__gte=since)
        counted = Counter({key: number for key, number in counted.items() if key[2] >= since})
    kept = {tuple(key): number for *key, number in rows.values_list(*_DIMENSIONS, "count")}
    return {
        key: (kept.get(key, 0), counted[key]) for key in {*kept, *counted} if kept.get(key, 0) != counted[key]
    }  # fmt: skip


def _all_ids(subject: KpiSubject, since: dt.date | None = None) -> list[int]:
    """Subjects with events that count, from a day on (a day earlier: by the clock of the westernmost site)."""
    rule = _RULES[subject]
    rows = WorkflowEvent.objects.filter(name__in=rule.names).exclude(**{rule.column: None})
    if since is not None:
        rows = rows.filter(at__gte=dt.datetime.combine(since, dt.time(), dt.UTC) - dt.timedelta(days=1))
    known = set(rows.values_list(rule.column, flat=True).distinct())
    if since is None:
        known |= set(KpiFact.objects.filter(subject=subject).values_list("subject_id", flat=True))
    return sorted(known)


def _batches(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    return (ids[begin : begin + _BATCH] for begin in range(0, len(ids), _BATCH))
