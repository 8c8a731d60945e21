"""What the search box and the palette find in the exceptions queue (settings.SEARCH_PROVIDERS, RECENT)."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import Q
from django.urls import reverse

from orchestrator.models import ExceptionCase
from orchestrator.permissions import Viewer, can
from orchestrator.selectors import cases

from .queue import kind_label


def find(viewer: Viewer, text: str, most: int) -> Iterator[dict[str, Any]]:
    """A case by its number, as EX-12; those that wait also by accession number and patient ID as received, whole."""
    if not can(viewer, "exceptions.view"):
        return
    number = re.fullmatch(r"(?i)(?:ex-?)?(\d{1,18})", text)
    if number is not None:
        yield from _hits(cases(viewer, "all").filter(pk=int(number[1])))
    about = Q(claim__accession_number=text) | Q(claim__patient_id=text)
    yield from _hits(cases(viewer).filter(about).order_by("due_at")[:most])


def recent(viewer: Viewer, keys: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Those of these cases that the viewer may see."""
    return _hits(cases(viewer, "all").filter(pk__in=keys))


def _hits(found: Any) -> Iterator[dict[str, Any]]:
    case: ExceptionCase
    for case in found:
        yield {
            "kind": "Exceptions",
            "key": case.pk,
            "icon": "inbox",
            "title": f"{case} {kind_label(case.kind)}",
            "ident": "",
            "sub": f"{case.get_status_display()}: {case.summary}",
            "url": reverse("case", args=[case.pk]),
        }
