"""What the search box finds in the ground: patients, orders, studies (settings.SEARCH_PROVIDERS)."""

from collections.abc import Iterator
from typing import Any

from django.urls import reverse

from orchestrator import selectors
from orchestrator.permissions import Viewer
from orchestrator.templatetags.moments import iso_date
from orchestrator.templatetags.person_names import NO_NAME, read

_EACH = 20  # hits of one kind; who has more names what they mean more closely


def find(viewer: Viewer, text: str) -> Iterator[dict[str, Any]]:
    """Identifiers whole, names by their words; what the viewer may not see is not searched."""
    for patient in selectors.patients(viewer, text)[:_EACH]:
        identifiers = list(patient.identifiers.all())
        yield {
            "kind": "Patients",
            "icon": "users",
            "title": read(patient.name).main or NO_NAME,
            "ident": identifiers[0].value if identifiers else "",
            "sub": f"born {patient.birth_date:%d %b %Y}" if patient.birth_date else "",
            "url": reverse("patient", args=[patient.uid]),
        }
    for order in selectors.orders(viewer, text).select_related("patient").order_by("-pk")[:_EACH]:
        yield {
            "kind": "Orders",
            "icon": "order",
            "title": read(order.patient.name).main or NO_NAME,
            "ident": order.accession_number or order.placer_order_number,
            "sub": order.get_status_display(),
            "url": reverse("order", args=[order.pk]),
        }
    for study in selectors.study_rows(selectors.studies(viewer, text)).order_by("-last_received_at")[:_EACH]:
        claim = next(iter(study.claims.all()), None)
        name = study.patient.name if study.patient else claim.patient_name if claim else ""
        yield {
            "kind": "Studies",
            "icon": "image",
            "title": read(name).main or NO_NAME,
            "ident": claim.accession_number if claim else "",
            "sub": " ".join([*study.modalities, iso_date(study.study_date), study.get_identity_display()]),
            "url": reverse("study", args=[study.pk]),
        }
