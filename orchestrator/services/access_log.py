"""The chain over the access log: each sealed row carries a digest over itself and the one before.

One sealer at a time; rows are appended without it, so that pages never wait for the chain.
"""

import hashlib
import json

from django.db import transaction
from django.db.models import Subquery
from django.db.models.functions import Coalesce

from orchestrator.models import AccessChain, AccessEvent
from orchestrator.models.access import GENESIS

BATCH = 1000


def _digest(previous: str, seal: int, event: AccessEvent) -> str:
    row = [
        previous,
        seal,
        event.at.isoformat(),
        event.user_name,
        event.action,
        event.subject_type,
        event.subject_id,
        event.address or "",
        event.number_of_records,
    ]
    return hashlib.sha256(json.dumps(row).encode()).hexdigest()


@transaction.atomic
def seal() -> int:
    """Seal the rows that are not sealed yet, oldest id first; answers how many. A sweep."""
    # One sealer: the lock on the chain's end serialises sealers on PostgreSQL, IMMEDIATE does on SQLite.
    chain, _ = AccessChain.objects.select_for_update().get_or_create(pk=1)
    events = list(AccessEvent.objects.filter(seal__isnull=True).order_by("pk")[:BATCH])
    for event in events:
        chain.seal += 1
        event.seal, event.digest = chain.seal, _digest(chain.digest, chain.seal, event)
        chain.digest = event.digest
    if events:
        AccessEvent.objects.bulk_update(events, ["seal", "digest"])
        chain.save()
    return len(events)


def first_break() -> int | None:
    """The seal number where the chain does not hold (a row changed, moved or missing); None when all of it does."""
    end = AccessChain.objects.filter(pk=1).first() or AccessChain()
    number, previous = 0, GENESIS
    # What is sealed while this reads stands behind the end that was read first.
    for event in AccessEvent.objects.filter(seal__lte=end.seal).order_by("seal").iterator():
        number += 1
        if event.seal != number or event.digest != _digest(previous, number, event):
            return number
        previous = event.digest
    if (number, previous) != (end.seal, end.digest):
        return number + 1
    # In one statement, since the end moves on: rows that were put behind it by another hand.
    behind = AccessEvent.objects.filter(seal__gt=Coalesce(Subquery(AccessChain.objects.values("seal")[:1]), 0))
    return behind.order_by("seal").values_list("seal", flat=True).first()
