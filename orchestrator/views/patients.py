"""Patients: search, and one patient with visits, orders and studies."""

import uuid

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_http_methods

from orchestrator import selectors
from orchestrator.audit import record_access
from orchestrator.models import Patient, WorkflowEvent
from orchestrator.permissions import can, require, visible_to

from . import events, lists, recent, replies, searches, viewer_of

_EACH = 50


@require_http_methods(["GET", "POST"])
def patient_list(request: HttpRequest) -> HttpResponse:
    """Patients, the newest first. A POST is a search."""
    viewer = viewer_of(request)
    require(viewer, "patients.view")
    if request.method == "POST":
        return searches.remember(request, "/patients/")
    text, site = searches.text_of(request), lists.site_filter(request)
    found = lists.page_of(
        request, selectors.patients(viewer, text, site), "created_at", among=selectors.patients(viewer, site=site)
    )
    record_access(
        viewer, "patients.view", "patient", number_of_records=len(found.rows), address=request.META.get("REMOTE_ADDR")
    )
    context = {"section": "patients", "heading": "Patients", "found": found, "text": text}
    return replies.page(request, "orchestrator/patients.html", "orchestrator/_patients.html", context)


@require_GET
def patient_page(request: HttpRequest, uid: uuid.UUID) -> HttpResponse:
    """One patient: identifiers, visits, orders, studies, and what happened. A merged one leads to its survivor."""
    viewer = viewer_of(request)
    require(viewer, "patients.view")
    everyone = visible_to(Patient.objects.select_related("merged_into"), viewer, "patients.view")
    patient = get_object_or_404(everyone, uid=uid)
    record_access(
        viewer, "patients.view", "patient", subject_id=str(patient.uid), address=request.META.get("REMOTE_ADDR")
    )
    recent.remember(request, "patient", patient.pk)
    happened = WorkflowEvent.objects.filter(patient_id=patient.pk)
    sites = viewer.sites_for("patients.view")
    if sites is not None:
        # What happened at other sites stays theirs; what concerns the person alone has no site.
        happened = happened.filter(site_id__in=sites) | happened.filter(site_id=None)
    latest = sorted(happened.order_by("-at")[:_EACH], key=lambda event: (event.at, event.pk))
    context = {
        "section": "patients",
        "patient": patient,
        "identifiers": list(patient.identifiers.select_related("issuer").order_by("-primary", "pk")),
        "sites": list(patient.sites.order_by("name")),
        "visits": list(
            visible_to(patient.visits.select_related("site"), viewer, "patients.view").order_by("-pk")[:_EACH]
        ),
        "orders": list(
            selectors.order_rows(selectors.orders(viewer).filter(patient=patient)).order_by("-created_at")[:_EACH]
        )
        if can(viewer, "orders.view")
        else [],
        "studies": list(
            selectors.study_rows(selectors.studies(viewer).filter(patient=patient)).order_by("-last_received_at")[
                :_EACH
            ]
        )
        if can(viewer, "studies.view")
        else [],
        "moments": events.moments(latest),
        "log": [events.entry(event, rail=True) for event in latest],
    }
    return replies.page(request, "orchestrator/patient.html", "orchestrator/_patient.html", context)
