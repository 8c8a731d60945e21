"""Patients and their identifiers. Identity is (issuer, id), never the id alone."""

import uuid
from typing import ClassVar

from django.db import models

from orchestrator.models.endpoint import Site
from orchestrator.models.history import history


class Issuer(models.Model):
    """An assigning authority: by namespace, by universal id (OID), or both. Either names it."""

    namespace = models.CharField(max_length=64, unique=True, null=True, blank=True)
    universal_id = models.CharField(max_length=199, unique=True, null=True, blank=True)
    universal_id_type = models.CharField(max_length=16, blank=True)
    history = history()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(namespace__isnull=False) | models.Q(universal_id__isnull=False),
                name="issuer_has_a_name",
            )
        ]

    def __str__(self) -> str:
        return self.namespace or self.universal_id or ""


class Patient(models.Model):
    """A person as the enterprise knows them. A merged record stays as a tombstone (`merged_into`)."""

    # The opaque id that stands in URLs.
    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    # DICOM PN, Unicode: alphabetic=ideographic=phonetic, five components each.
    name = models.CharField(max_length=324, blank=True)
    # `name` folded for comparison (fold_name): upper case, no accents, parts sorted. Searched by `words`.
    folded_name = models.CharField(max_length=324, blank=True, db_index=True)
    birth_date = models.DateField(null=True, blank=True)
    sex = models.CharField(max_length=1, blank=True, help_text="M, F, O or empty (0010,0040).")
    weight_kg = models.DecimalField(max_digits=6, decimal_places=2, null=True, blank=True)
    size_m = models.DecimalField(max_digits=4, decimal_places=2, null=True, blank=True)
    medical_alerts = models.TextField(blank=True)
    allergies = models.TextField(blank=True)
    confidentiality = models.CharField(max_length=64, blank=True)
    merged_into = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="subsumed")
    active = models.BooleanField(default=True)
    sites = models.ManyToManyField(Site, related_name="patients")
    # MSH-7 / EVN-2 of the message that last set the demographics: an older one must not undo it.
    demographics_at = models.DateTimeField(null=True, blank=True)
    # An ADT has told of them: what the PID of an order says otherwise changes nothing.
    told_by_event = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    history = history()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["birth_date", "folded_name"], name="patient_birth_name"),
            models.Index(fields=["-created_at", "merged_into"], name="patient_created"),
        ]

    def __str__(self) -> str:
        return f"patient {self.pk}"

    def event_links(self) -> dict[str, int | None]:
        return {"patient_id": self.pk}


class PatientIdentifier(models.Model):
    """One identifier of a patient. A string: leading zeros and case count."""

    patient = models.ForeignKey(Patient, on_delete=models.CASCADE, related_name="identifiers")
    value = models.CharField(max_length=64)
    issuer = models.ForeignKey(Issuer, on_delete=models.PROTECT)
    type_code = models.CharField(max_length=8, blank=True, help_text="PID-3.5, e.g. MR.")
    primary = models.BooleanField(default=False)
    history = history()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["issuer", "value"], name="identifier_once_per_issuer")]
        indexes: ClassVar = [models.Index(fields=["value"], name="identifier_value")]

    def __str__(self) -> str:
        return f"identifier {self.pk}"
