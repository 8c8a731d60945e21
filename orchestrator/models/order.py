"""What was asked: order → requested procedures → scheduled steps; and which instances are expected."""

from typing import ClassVar

from django.db import models

from orchestrator.models.endpoint import HL7Application, Site
from orchestrator.models.history import history
from orchestrator.models.patient import Issuer, Patient
from orchestrator.models.visit import Visit
from orchestrator.states import OrderStatus, StepStatus


class ImagingServiceRequest(models.Model):
    """An order. `accession_number` is not unique: several procedures, several issuers."""

    class Priority(models.TextChoices):
        """Requested Procedure Priority (0040,1003)."""

        STAT = "STAT", "Stat"
        HIGH = "HIGH", "High"
        ROUTINE = "ROUTINE", "Routine"
        MEDIUM = "MEDIUM", "Medium"
        LOW = "LOW", "Low"

    site = models.ForeignKey(Site, on_delete=models.PROTECT, db_index=False)
    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, related_name="orders")
    visit = models.ForeignKey(Visit, on_delete=models.PROTECT, null=True, blank=True, related_name="orders")
    interface = models.ForeignKey(HL7Application, on_delete=models.PROTECT, null=True, blank=True)
    accession_number = models.CharField(max_length=16, blank=True, db_index=True)
    accession_issuer = models.ForeignKey(Issuer, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    placer_order_number = models.CharField(max_length=64, blank=True, db_index=True)
    placer_issuer = models.CharField(max_length=64, blank=True, help_text="ORC-2.2 namespace.")
    filler_order_number = models.CharField(max_length=64, blank=True, db_index=True)
    filler_issuer = models.CharField(max_length=64, blank=True, help_text="ORC-3.2 namespace.")
    status = models.CharField(max_length=12, choices=OrderStatus.choices, default=OrderStatus.ORDERED)
    priority = models.CharField(max_length=8, choices=Priority.choices, default=Priority.ROUTINE)
    requesting_physician = models.CharField(max_length=324, blank=True)
    referring_physician = models.CharField(max_length=324, blank=True)
    reason = models.TextField(blank=True, help_text="OBR-31, as text.")
    danger_code = models.CharField(max_length=64, blank=True, help_text="OBR-12.")
    relevant_clinical_information = models.TextField(blank=True, help_text="OBR-13.")
    patient_transport = models.CharField(max_length=64, blank=True, help_text="OBR-30 (0040,1004).")
    # Time of the message that last changed it: a late update must not undo a newer one.
    changed_by_message_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    history = history()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["placer_issuer", "placer_order_number", "filler_issuer", "filler_order_number"],
                condition=~models.Q(placer_order_number="", filler_order_number=""),
                name="order_numbers_once",
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["site", "-created_at"], name="order_site_created"),
            models.Index(fields=["-created_at"], name="order_created"),
            models.Index(fields=["status", "-created_at"], name="order_status_created"),
        ]

    def __str__(self) -> str:
        return f"order {self.pk}"

    def event_links(self) -> dict[str, int | None]:
        return {"site_id": self.site_id, "patient_id": self.patient_id, "order_id": self.pk}


class RequestedProcedure(models.Model):
    """One procedure of an order, with the Study Instance UID it was given (once; never regenerated)."""

    order = models.ForeignKey(ImagingServiceRequest, on_delete=models.PROTECT, related_name="requested_procedures")
    requested_procedure_id = models.CharField(max_length=64)
    numbered_here = models.BooleanField(default=False, help_text="The id is ours, until the filler gives one.")
    study_instance_uid = models.CharField(max_length=64, db_index=True)
    code_value = models.CharField(max_length=64, blank=True)
    coding_scheme_designator = models.CharField(max_length=16, blank=True)
    code_meaning = models.CharField(max_length=64, blank=True)
    description = models.CharField(max_length=64, blank=True)
    history = history()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["order", "requested_procedure_id"], name="requested_procedure_once")
        ]

    def __str__(self) -> str:
        return f"requested procedure {self.pk}"


class ScheduledProcedureStep(models.Model):
    """One step on a station. Wall-clock date and time stand as sent: that is what a modality matches."""

    procedure = models.ForeignKey(RequestedProcedure, on_delete=models.PROTECT, related_name="steps")
    site = models.ForeignKey(Site, on_delete=models.PROTECT)
    sps_id = models.CharField(max_length=64)
    numbered_here = models.BooleanField(default=False, help_text="The id is ours, until the filler gives one.")
    status = models.CharField(max_length=12, choices=StepStatus.choices, default=StepStatus.SCHEDULED)
    modality = models.CharField(max_length=16, blank=True)
    station_ae_titles = models.JSONField(
        default=list, help_text="Scheduled Station AE Title (0040,0001), multi-valued."
    )
    station_name = models.CharField(max_length=64, blank=True)
    location = models.CharField(max_length=64, blank=True)
    start_date = models.DateField(null=True, blank=True)
    start_time = models.TimeField(null=True, blank=True)
    start_at = models.DateTimeField(null=True, blank=True, help_text="The same moment in UTC, by the site's zone.")
    performing_physician = models.CharField(max_length=324, blank=True)
    description = models.CharField(max_length=64, blank=True)
    # Scheduled Protocol Code Sequence: [[value, scheme, meaning], …]
    protocol_codes = models.JSONField(default=list)
    pre_medication = models.CharField(max_length=64, blank=True)
    requested_contrast_agent = models.CharField(max_length=64, blank=True)
    history = history()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["procedure", "sps_id"], name="step_once_per_procedure")
        ]
        indexes: ClassVar = [
            models.Index(fields=["start_date", "modality", "status"], name="step_day_modality"),
            models.Index(fields=["sps_id"], name="step_sps_id"),
        ]

    def __str__(self) -> str:
        return f"step {self.pk}"

    def event_links(self) -> dict[str, int | None]:
        order = self.procedure.order
        return {"site_id": self.site_id, "patient_id": order.patient_id, "order_id": order.pk}


class ExpectedInstance(models.Model):
    """An instance that an MPPS says was made: what completeness is counted against."""

    study_instance_uid = models.CharField(max_length=64, db_index=True)
    series_instance_uid = models.CharField(max_length=64)
    sop_class_uid = models.CharField(max_length=64)
    sop_instance_uid = models.CharField(max_length=64, unique=True)
    mpps_uid = models.CharField(max_length=64, db_index=True)

    def __str__(self) -> str:
        return f"expected instance {self.pk}"


class WrongEntry(models.Model):
    """A modality said (MPPS, 110514) that images under this Study Instance UID used another patient's worklist entry.

    What they say of their patient proves nothing, whenever they arrive: a person decides.
    """

    study_instance_uid = models.CharField(max_length=64, db_index=True)
    mpps_uid = models.CharField(max_length=64, unique=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "wrong entries"

    def __str__(self) -> str:
        return f"wrong worklist entry {self.pk}"
