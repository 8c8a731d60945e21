"""Visits (encounters) of a patient."""

from typing import ClassVar

from django.db import models

from orchestrator.models.endpoint import Site
from orchestrator.models.history import history
from orchestrator.models.patient import Issuer, Patient
from orchestrator.states import VisitStatus


class Visit(models.Model):
    """PV1: where and why the patient is here. `visit_number` is DICOM's Admission ID (0038,0010)."""

    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, related_name="visits")
    site = models.ForeignKey(Site, on_delete=models.PROTECT)
    visit_number = models.CharField(max_length=64)
    issuer = models.ForeignKey(Issuer, on_delete=models.PROTECT, null=True, blank=True)
    status = models.CharField(max_length=10, choices=VisitStatus.choices, default=VisitStatus.PLANNED)
    patient_class = models.CharField(max_length=2, blank=True, help_text="PV1-2: I, O, E, P, …")
    location = models.CharField(max_length=120, blank=True, help_text="PV1-3, as displayed.")
    attending_physician = models.CharField(max_length=324, blank=True, help_text="PV1-7 as DICOM PN.")
    referring_physician = models.CharField(max_length=324, blank=True, help_text="PV1-8 as DICOM PN.")
    admitted_at = models.DateTimeField(null=True, blank=True)
    discharged_at = models.DateTimeField(null=True, blank=True)
    ambulatory_status = models.CharField(max_length=2, blank=True, help_text="PV1-15; B6 is pregnant.")
    history = history()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["site", "visit_number", "issuer"], name="visit_number_once"),
            models.UniqueConstraint(
                fields=["site", "visit_number"],
                condition=models.Q(issuer__isnull=True),
                name="visit_number_once_bare",
            ),
        ]

    def __str__(self) -> str:
        return f"visit {self.pk}"

    def event_links(self) -> dict[str, int | None]:
        return {"site_id": self.site_id, "patient_id": self.patient_id}
