"""What a person had before their eyes when they decided, and what has changed since (optimistic lock)."""

import hashlib

from django.db.models import QuerySet

from orchestrator.models import ExceptionCase, WorkflowEvent
from orchestrator.views import events
from reconciliation.models import MatchRun

_TOLD = 3


def stamp(case: ExceptionCase, *shown: object) -> str:
    """Stands in a form: the last event of the case, and a digest of its state, candidates and what else is shown."""
    run = MatchRun.objects.filter(claim=case.claim_id).order_by("-at", "-pk").first() if case.claim_id else None
    orders = sorted({entry["order"] for entry in run.candidates}) if run else []
    said = repr((case.status, case.owner_id, orders, shown))
    last = _events(case).order_by("-pk").values_list("pk", flat=True).first() or 0
    return f"{last}-{hashlib.blake2b(said.encode(), digest_size=9).hexdigest()}"


def news(case: ExceptionCase, seen: str, *shown: object) -> str:
    """What happened since that stamp, in words; empty when all that was seen is still so."""
    if not seen or seen.partition("-")[2] == stamp(case, *shown).partition("-")[2]:
        return ""
    last = seen.partition("-")[0]
    since = _events(case).filter(pk__gt=int(last) if last.isdecimal() and len(last) < 19 else 0).order_by("-pk")
    words = [_words(event) for event in since[:_TOLD]]
    return "; ".join(reversed(words)) or "The order or its patient changed"


def _events(case: ExceptionCase) -> QuerySet[WorkflowEvent]:
    return WorkflowEvent.objects.filter(subject_type="exceptioncase", subject_id=case.pk)


def _words(event: WorkflowEvent) -> str:
    told = events.entry(event)
    return f"{told['text']} ({told['sub']})" if told["sub"] else str(told["text"])
