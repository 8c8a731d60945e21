"""What was received: studies, series, instances; whose they claim to be; where they have been."""

from typing import ClassVar

from django.db import models

from orchestrator.models.endpoint import Device, Site
from orchestrator.models.history import history
from orchestrator.models.order import ImagingServiceRequest, RequestedProcedure, ScheduledProcedureStep
from orchestrator.models.patient import Patient
from orchestrator.states import Context, Custody, Identity, MatchedBy, Purpose, Quality


class Study(models.Model):
    """A study as received. The Study Instance UID is adopted, never coerced (promise 2)."""

    study_instance_uid = models.CharField(max_length=64, unique=True)
    site = models.ForeignKey(Site, on_delete=models.PROTECT, db_index=False)
    # The patient and the identity of the worst claim; kept by services.studies.refresh_identity.
    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, null=True, blank=True, related_name="studies")
    identity = models.CharField(max_length=8, choices=Identity.choices, default=Identity.PENDING)
    custody = models.CharField(max_length=10, choices=Custody.choices, default=Custody.RECEIVING)
    context = models.CharField(max_length=10, choices=Context.choices, default=Context.INCOMPLETE)
    quality = models.CharField(max_length=9, choices=Quality.choices, default=Quality.UNCHECKED)
    # As received (first instance), for lists and search.
    study_date = models.CharField(max_length=8, blank=True)
    study_time = models.CharField(max_length=16, blank=True)
    study_description = models.CharField(max_length=64, blank=True)
    modalities = models.JSONField(default=list)
    number_of_series = models.PositiveIntegerField(default=0)
    number_of_instances = models.PositiveIntegerField(default=0)
    received_from = models.CharField(
        max_length=16, blank=True, help_text="Calling AE title of who acquired it, else of the first instance."
    )
    first_received_at = models.DateTimeField()
    last_received_at = models.DateTimeField()
    # When the study counts as received if nothing more comes; empty while closed.
    quiet_until = models.DateTimeField(null=True, blank=True, db_index=True)
    history = history()

    class Meta:
        verbose_name_plural = "studies"
        indexes: ClassVar = [
            models.Index(fields=["-last_received_at"], name="study_last_received"),
            models.Index(fields=["identity", "-last_received_at", "-id", "custody"], name="study_identity"),
            models.Index(fields=["custody", "-last_received_at"], name="study_custody"),
            models.Index(fields=["site", "-last_received_at", "-id"], name="study_site"),
        ]

    def __str__(self) -> str:
        return f"study {self.pk}"

    def event_links(self) -> dict[str, int | None]:
        return {"site_id": self.site_id, "patient_id": self.patient_id, "study_id": self.pk}


class Series(models.Model):
    study = models.ForeignKey(Study, on_delete=models.PROTECT, related_name="series")
    series_instance_uid = models.CharField(max_length=64)
    modality = models.CharField(max_length=16, blank=True)
    series_number = models.CharField(max_length=12, blank=True)
    series_description = models.CharField(max_length=64, blank=True)
    body_part_examined = models.CharField(max_length=16, blank=True)
    station_name = models.CharField(max_length=16, blank=True)
    number_of_instances = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "series"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["study", "series_instance_uid"], name="series_once_per_study")
        ]

    def __str__(self) -> str:
        return f"series {self.pk}"


class IdentityClaim(models.Model):
    """The instances of a study that agree on who they say they are (promise 7). Match and case belong here."""

    study = models.ForeignKey(Study, on_delete=models.PROTECT, related_name="claims")
    # sha256 over the normalised fields below: equal claims are one row.
    key = models.CharField(max_length=64)
    patient_id = models.CharField(max_length=64, blank=True, help_text="(0010,0020) as received, padding trimmed.")
    issuer = models.CharField(max_length=64, blank=True, help_text="(0010,0021) as received.")
    issuer_universal_id = models.CharField(max_length=199, blank=True, help_text="(0010,0024)>(0040,0032).")
    patient_name = models.CharField(max_length=324, blank=True)
    birth_date = models.CharField(max_length=8, blank=True, help_text="(0010,0030) as received.")
    sex = models.CharField(max_length=16, blank=True)
    accession_number = models.CharField(max_length=16, blank=True)
    calling_ae_title = models.CharField(max_length=16, blank=True)
    # From Request Attributes Sequence (0040,0275) or the top level, when the modality used a worklist entry.
    requested_procedure_id = models.CharField(max_length=64, blank=True)
    sps_id = models.CharField(max_length=64, blank=True)
    modality = models.CharField(max_length=16, blank=True)
    station_name = models.CharField(max_length=16, blank=True)
    study_date = models.CharField(max_length=8, blank=True)
    study_time = models.CharField(max_length=16, blank=True)
    study_description = models.CharField(max_length=64, blank=True)
    number_of_instances = models.PositiveIntegerField(default=0)
    purpose = models.CharField(max_length=8, choices=Purpose.choices, default=Purpose.ACQUIRED)
    identity = models.CharField(max_length=8, choices=Identity.choices, default=Identity.PENDING)
    matched_by = models.CharField(max_length=13, choices=MatchedBy.choices, blank=True)
    matched_patient = models.ForeignKey(Patient, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    order = models.ForeignKey(
        ImagingServiceRequest, on_delete=models.PROTECT, null=True, blank=True, related_name="claims"
    )
    procedure = models.ForeignKey(RequestedProcedure, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    step = models.ForeignKey(
        ScheduledProcedureStep, on_delete=models.PROTECT, null=True, blank=True, related_name="claims"
    )
    # What spoke for the match: [{field, verdict, received, expected}], kept with it.
    evidence = models.JSONField(default=list)
    history = history()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["study", "key"], name="claim_once_per_study")]
        indexes: ClassVar = [
            models.Index(fields=["identity", "purpose", "study"], name="claim_identity"),
            models.Index(fields=["accession_number"], name="claim_accession"),
            models.Index(fields=["patient_id"], name="claim_patient_id"),
        ]

    def __str__(self) -> str:
        return f"claim {self.pk}"

    def event_links(self) -> dict[str, int | None]:
        return {
            "site_id": self.study.site_id,
            "patient_id": self.matched_patient_id,
            "order_id": self.order_id,
            "study_id": self.study_id,
        }


class Instance(models.Model):
    """One received object and its file in the spool. The file is never rewritten."""

    study = models.ForeignKey(Study, on_delete=models.PROTECT, related_name="instances")
    series = models.ForeignKey(Series, on_delete=models.PROTECT, related_name="instances")
    claim = models.ForeignKey(IdentityClaim, on_delete=models.PROTECT, related_name="instances")
    sop_instance_uid = models.CharField(max_length=64)
    sop_class_uid = models.CharField(max_length=64)
    transfer_syntax_uid = models.CharField(max_length=64)
    instance_number = models.CharField(max_length=12, blank=True)
    number_of_frames = models.PositiveIntegerField(default=1)
    # Name of the file below the spool; ours, never the peer's.
    spool_key = models.CharField(max_length=100)
    size = models.BigIntegerField(help_text="Bytes of the file.")
    # sha256 of the data set (without file meta): equal bytes are the same object.
    digest = models.CharField(max_length=64)
    purpose = models.CharField(max_length=8, choices=Purpose.choices, default=Purpose.ACQUIRED)
    calling_ae_title = models.CharField(max_length=16, blank=True)
    address = models.GenericIPAddressField(null=True)
    received_at = models.DateTimeField()
    # A second copy with other content is kept beside the first, and never sent by itself.
    differs_from = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="differing", db_index=False
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["sop_instance_uid"],
                condition=models.Q(differs_from__isnull=True),
                name="instance_once",
            ),
            # Not `unique=True`, with which PostgreSQL would get a second index, for beginnings.
            models.UniqueConstraint(fields=["spool_key"], name="instance_file_once"),
        ]
        # Each index is paid for by every object that comes in.
        indexes: ClassVar = [
            models.Index(fields=["sop_instance_uid"], name="instance_sop"),
            models.Index(
                fields=["differs_from"], condition=models.Q(differs_from__isnull=False), name="instance_differing"
            ),
        ]

    def __str__(self) -> str:
        return f"instance {self.pk}"


class Hop(models.Model):
    """A device that holds (a rendition of) a study because we sent it there: loop guard and RETURNED stand on it."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="hops")
    device = models.ForeignKey(Device, on_delete=models.CASCADE)
    rendition = models.CharField(max_length=64)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["study", "device", "rendition"], name="hop_once_per_rendition")
        ]

    def __str__(self) -> str:
        return f"study {self.study_id} at device {self.device_id}"
