"""The record of what each modality asked and got."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

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


@transaction.atomic
def record_query(asked: Asked) -> None:
    """Keep a query and its answer; the same question with the same answer as the last time is only counted."""
    now = timezone.now()
    keys = {name[:64]: text.replace("\0", " ")[:_LONGEST_KEY] for name, text in list(asked.keys.items())[:_MOST_KEYS]}
    digest = _digest([asked.status, *asked.step_ids])
    earlier = WorklistQuery.objects.filter(ae_title=asked.ae_title).order_by("-last_at", "-pk")[:_QUESTIONS_IN_TURN]
    latest = next((row for row in earlier if row.keys == keys and row.address == (asked.address or None)), None)
    if latest is not None and latest.answers_digest == digest:
        WorklistQuery.objects.filter(pk=latest.pk).update(count=F("count") + 1, last_at=now)
        return
    WorklistQuery.objects.create(
        site_id=asked.site_id,
        ae_title=asked.ae_title,
        address=asked.address or None,
        keys=keys,
        status=asked.status,
        number_of_answers=len(asked.step_ids),
        step_ids=list(asked.step_ids[:_MOST_STEPS]),
        answers_digest=digest,
        last_at=now,
    )


def _digest(answers: Sequence[int]) -> str:
    return hashlib.sha256(json.dumps(answers).encode()).hexdigest()


def forget_old() -> None:
    """Sweep: what is older than it is kept, in portions."""
    old = WorklistQuery.objects.filter(last_at__lt=timezone.now() - KEPT)
    if keys := list(old.values_list("pk", flat=True)[:_ROWS_AT_ONCE]):
        WorklistQuery.objects.filter(pk__in=keys).delete()
