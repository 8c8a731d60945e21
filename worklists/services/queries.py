"""The record of what each modality asked and got."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from worklists.models import WorklistQuery

# How long it is kept what modalities asked.
KEPT = timedelta(days=90)
# What a row holds at most, whatever was asked: the number of answers and their digest still tell all of them.
_MOST_STEPS, _MOST_KEYS, _LONGEST_KEY = 500, 40, 324
# A console asks several questions in turn: so many of its rows are looked at for the one that repeats.
_QUESTIONS_IN_TURN = 10
_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """One worklist query: who, what, and the steps that were sent, in order."""

    site_id: int
    ae_title: str
    address: str
    keys: Mapping[str, str]
    status: int
    step_ids: Sequence[int]
    at: datetime = field(default_factory=timezone.now)


@transaction.atomic
def record_queries(queries: Sequence[Asked]) -> None:
    """Keep queries and their answers; the same question with the same answer as the last time is only counted."""
    by_caller: dict[str, list[Asked]] = {}
    for asked in queries:
        by_caller.setdefault(asked.ae_title, []).append(asked)
    for ae_title, questions in by_caller.items():
        _record(ae_title, questions)


def _record(ae_title: str, questions: Sequence[Asked]) -> None:
    """Those of one caller, in their order."""
    earlier = WorklistQuery.objects.filter(ae_title=ae_title).order_by("-last_at", "-pk")[:_QUESTIONS_IN_TURN]
    latest: dict[tuple[str | None, str], WorklistQuery] = {}
    for row in earlier:
        latest.setdefault(_question(row), row)
    # How often each is asked once more.
    again: Counter[WorklistQuery] = Counter()
    new: list[WorklistQuery] = []
    for asked in questions:
        row = _row(asked)
        known = latest.get(_question(row))
        if known is None or known.answers_digest != row.answers_digest:
            latest[_question(row)] = row
            new.append(row)
            continue
        known.last_at = row.last_at
        if known in new:
            known.count += 1
        else:
            again[known] += 1
    for known, times in again.items():
        WorklistQuery.objects.filter(pk=known.pk).update(count=F("count") + times, last_at=known.last_at)
    WorklistQuery.objects.bulk_create(new)


def _question(row: WorklistQuery) -> tuple[str | None, str]:
    return row.address, json.dumps(row.keys, sort_keys=True)


def _row(asked: Asked) -> WorklistQuery:
    return WorklistQuery(
        site_id=asked.site_id,
        ae_title=asked.ae_title,
        address=asked.address or None,
        keys={
            name[:64]: text.replace("\0", " ")[:_LONGEST_KEY] for name, text in list(asked.keys.items())[:_MOST_KEYS]
        },
        status=asked.status,
        number_of_answers=len(asked.step_ids),
        step_ids=list(asked.step_ids[:_MOST_STEPS]),
        answers_digest=_digest([asked.status, *asked.step_ids]),
        last_at=asked.at,
    )


def _digest(answers: Sequence[int]) -> str:
    return hashlib.sha256(json.dumps(answers).encode()).hexdigest()


def forget_old() -> None:
    """Sweep: what is older than it is kept, in portions."""
    old = WorklistQuery.objects.filter(last_at__lt=timezone.now() - KEPT)
    if keys := list(old.values_list("pk", flat=True)[:_ROWS_AT_ONCE]):
        WorklistQuery.objects.filter(pk__in=keys).delete()
