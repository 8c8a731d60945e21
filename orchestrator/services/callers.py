"""Callers that are refused: recorded, counted, and offered to a person once."""

from django.db.models import F
from django.utils import timezone

from orchestrator.models import ExceptionCase, Site, UnknownCaller
from orchestrator.services.exceptions import open_case
from orchestrator.states import CASE_OPEN

_REASONS = {
    UnknownCaller.Protocol.DICOM: "UNKNOWN_AE",
    UnknownCaller.Protocol.HL7: "UNKNOWN_HL7_APPLICATION",
}


def refuse(protocol: UnknownCaller.Protocol, *, name: str, address: str, summary: str) -> None:
    """Count a caller that is refused, and ask a person whether it should be, unless somebody is asked already."""
    caller, created = UnknownCaller.objects.get_or_create(
        protocol=protocol, name=name, address=address, defaults={"refused": True}
    )
    if not created:
        UnknownCaller.objects.filter(pk=caller.pk).update(count=F("count") + 1, last_seen_at=timezone.now())
        asked = {"kind": "unknown_sender", "subject_type": "unknowncaller", "subject_id": caller.pk}
        if ExceptionCase.objects.filter(status__in=CASE_OPEN, **asked).exists():
            return
    open_case(
        "unknown_sender",
        about=caller,
        reason_code=_REASONS[protocol],
        summary=summary,
        site=Site.objects.earliest("pk"),
        source=name[:100],
    )
