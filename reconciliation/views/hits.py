"""What the search box finds in the exceptions queue (settings.SEARCH_PROVIDERS)."""

import re
from collections.abc import Iterator
from typing import Any

from django.urls import reverse

from orchestrator.models import ExceptionCase
from orchestrator.permissions import Viewer, visible_to


def find(viewer: Viewer, text: str) -> Iterator[dict[str, Any]]:
    """A case by its number, as EX-12."""
    number = re.fullmatch(r"(?i)ex-?(\d{1,18})", text)
    if number is None:
        return
    for case in visible_to(ExceptionCase.objects.filter(pk=int(number[1])), viewer, "exceptions.view"):
        yield {
            "kind": "Exceptions",
            "icon": "inbox",
            "title": str(case),
            "ident": "",
            "sub": f"{case.get_status_display()}: {case.summary}",
            "url": reverse("case", args=[case.pk]),
        }
