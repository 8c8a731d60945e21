"""What search box and palette find in the ground (settings.SEARCH_PROVIDERS), and know again (settings.RECENT)."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.urls import reverse

from orchestrator import selectors
from orchestrator.models import ImagingServiceRequest, InboundMessage, Patient, Study
from orchestrator.models.search import first_of, latest_first, within_window
from orchestrator.permissions import Viewer, can
from orchestrator.templatetags.moments import iso_date
from orchestrator.templatetags.person_names import NO_NAME, read

Hit = dict[str, Any]
# Rows of a list that are gone through for the first few with a common name.
_LOOKED_AT = 1_000
M = TypeVar("M", bound=Model)


def find(viewer: Viewer, text: str, most: int) -> Iterator[Hit]:
    """Identifiers whole, names by their words; what the viewer may not see is not searched."""
    namesakes = selectors.Namesakes(text)
    if can(viewer, "patients.view"):
        people = selectors.patients(viewer, text, namesakes=namesakes)
        yield from map(_patient, _latest(people, selectors.patients(viewer), "created_at", most))
    if can(viewer, "orders.view"):
        ordered = selectors.orders(viewer, text, namesakes).select_related("patient")
        yield from map(_order, _latest(ordered, selectors.orders(viewer), "created_at", most))
    if can(viewer, "studies.view"):
        received = selectors.study_rows(selectors.studies(viewer, text, namesakes))
        yield from map(_study, _latest(received, selectors.studies(viewer), "last_received_at", most))
    if can(viewer, "messages.view"):
        named = selectors.messages(viewer).filter(control_id=text).defer("raw", "ack").order_by("-received_at")
        yield from map(_message, named[:most])


def _latest(found: QuerySet[M], among: QuerySet[M], column: str, most: int) -> Sequence[M]:
    """The first `most`; of a name that is common, those that a list of it begins with."""
    return first_of(latest_first(within_window(found, among, column, _LOOKED_AT)[0], column), most)[0]


def patients(viewer: Viewer, keys: Sequence[int]) -> Iterator[Hit]:
    """Those of these patients that the viewer may see."""
    return map(_patient, selectors.patients(viewer).filter(pk__in=keys))


def orders(viewer: Viewer, keys: Sequence[int]) -> Iterator[Hit]:
    """Those of these orders that the viewer may see."""
    return map(_order, selectors.orders(viewer).select_related("patient").filter(pk__in=keys))


def studies(viewer: Viewer, keys: Sequence[int]) -> Iterator[Hit]:
    """Those of these studies that the viewer may see."""
    return map(_study, selectors.study_rows(selectors.studies(viewer)).filter(pk__in=keys))


def _patient(patient: Patient) -> Hit:
    identifiers = list(patient.identifiers.all())
    return {
        "kind": "Patients",
        "key": patient.pk,
        "icon": "users",
        "title": read(patient.name).main or NO_NAME,
        "ident": identifiers[0].value if identifiers else "",
        "sub": f"born {patient.birth_date:%d %b %Y}" if patient.birth_date else "",
        "url": reverse("patient", args=[patient.uid]),
    }


def _order(order: ImagingServiceRequest) -> Hit:
    return {
        "kind": "Orders",
        "key": order.pk,
        "icon": "order",
        "title": read(order.patient.name).main or NO_NAME,
        "ident": order.accession_number or order.placer_order_number,
        "sub": order.get_status_display(),
        "url": reverse("order", args=[order.pk]),
    }


def _study(study: Study) -> Hit:
    claim = next(iter(study.claims.all()), None)
    name = study.patient.name if study.patient else claim.patient_name if claim else ""
    return {
        "kind": "Studies",
        "key": study.pk,
        "icon": "image",
        "title": read(name).main or NO_NAME,
        "ident": claim.accession_number if claim else "",
        "sub": " ".join([*study.modalities, iso_date(study.study_date), study.get_identity_display()]),
        "url": reverse("study", args=[study.pk]),
    }


def _message(message: InboundMessage) -> Hit:
    return {
        "kind": "Messages",
        "key": message.pk,
        "icon": "message",
        "title": message.message_type or "Message",
        "ident": message.control_id,
        "sub": message.get_status_display(),
        "url": reverse("message", args=[message.pk]),
    }
