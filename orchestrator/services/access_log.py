"""The chain over the access log: each sealed row carries a digest over itself and the one before.

One sealer at a time; rows are appended without it, so that pages never wait for the chain.
"""

import hashlib
import json

from django.db import transaction

from orchestrator.models import AccessEvent, Site

BATCH = 1000
GENESIS = "0" * 64


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
    # One sealer: the lock on the first site serialises sealers on PostgreSQL, IMMEDIATE does on SQLite.
    Site.objects.select_for_update().order_by("pk").first()
    last = AccessEvent.objects.filter(seal__isnull=False).order_by("-seal").first()
    number, previous = (last.seal or 0, last.digest) if last else (0, GENESIS)
    events = list(AccessEvent.objects.filter(seal__isnull=True).order_by("pk")[:BATCH])
    for event in events:
        number += 1
        event.seal, event.digest = number, _digest(previous, number, event)
        previous = event.digest
    AccessEvent.objects.bulk_update(events, ["seal", "digest"])
    return len(events)


def first_break() -> int | None:
    """The seal number where the chain does not hold (a row changed or missing); None when it holds throughout."""
    previous = GENESIS
    sealed = AccessEvent.objects.filter(seal__isnull=False).order_by("seal")
    for number, event in enumerate(sealed.iterator(), start=1):
        if event.seal != number or event.digest != _digest(previous, number, event):
            return number
        previous = event.digest
    return None
