"""What modalities report about the work they do (MPPS, PS3.4 annex F)."""

from typing import ClassVar

from django.db import models

from orchestrator.models import ImagingServiceRequest, Patient, ScheduledProcedureStep, Site, Study
from orchestrator.models.history import history
from orchestrator.states import MppsStatus


class ModalityPerformedProcedureStep(models.Model):
    """One performed step. `dataset` is what the modality said, merged over its messages, as DICOM JSON (Unicode)."""

    sop_instance_uid = models.CharField(max_length=64, unique=True)
    site = models.ForeignKey(Site, on_delete=models.PROTECT)
    status = models.CharField(max_length=12, choices=MppsStatus.choices, default=MppsStatus.IN_PROGRESS)
    ae_title = models.CharField(max_length=16, help_text="Calling AE title of the N-CREATE.")
    # sha256 of the N-CREATE's dataset: the same message again is a repetition, not a second step.
    created_digest = models.CharField(max_length=64)
    dataset = models.JSONField()
    study_instance_uid = models.CharField(max_length=64, db_index=True)
    modality = models.CharField(max_length=16, blank=True)
    performed_procedure_step_id = models.CharField(max_length=64, blank=True)
    discontinuation_reason = models.CharField(max_length=16, blank=True, help_text="Code value of (0040,0281).")
    # [{series_instance_uid, protocol_name, number_of_instances}]
    performed_series = models.JSONField(default=list)
    # Empty: unscheduled, or unlinked after a wrong worklist entry.
    steps = models.ManyToManyField(ScheduledProcedureStep, related_name="performed_steps", blank=True)
    # Of the first step it was linked to; they stay when it is unlinked.
    order = models.ForeignKey(
        ImagingServiceRequest, on_delete=models.PROTECT, null=True, blank=True, related_name="performed_steps"
    )
    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When we were told of the end.")
    history = history()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["-created_at"], name="mpps_created")]

    def __str__(self) -> str:
        return f"performed step {self.pk}"

    def event_links(self) -> dict[str, int | None]:
        study = Study.objects.filter(study_instance_uid=self.study_instance_uid).values_list("pk", flat=True).first()
        return {"site_id": self.site_id, "patient_id": self.patient_id, "order_id": self.order_id, "study_id": study}


class RefusedReport(models.Model):
    """A report of a modality that was refused, kept as sent: the modality thinks of it as told, or gives up.

    A report is one command for one instance: sent again, it is counted and the newest bytes stay.
    """

    site = models.ForeignKey(Site, on_delete=models.PROTECT)
    ae_title = models.CharField(max_length=16)
    command = models.CharField(max_length=8, help_text="N-CREATE or N-SET.")
    sop_instance_uid = models.CharField(max_length=64, blank=True)
    status = models.PositiveIntegerField(help_text="The DIMSE status it was answered with.")
    reason = models.CharField(max_length=64)
    transfer_syntax_uid = models.CharField(max_length=64)
    dataset = models.BinaryField()
    count = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField(auto_now_add=True)
    last_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["sop_instance_uid", "command", "ae_title"], name="refused_report_once")
        ]

    def __str__(self) -> str:
        return f"refused report {self.pk}"

    def event_links(self) -> dict[str, int | None]:
        return {"site_id": self.site_id}
