"""The worklist as modalities see it: one entry per step, and what each modality asked and got."""

from typing import ClassVar

from django.db import models

from orchestrator.models import ScheduledProcedureStep, Site


class WorklistEntry(models.Model):
    """A step's projection: the columns that queries match, and the whole answer, encoded when the step changes.

    Written only by services.steps.project, in the transaction that changes the step.
    """

    step = models.OneToOneField(
        ScheduledProcedureStep, on_delete=models.CASCADE, primary_key=True, related_name="worklist_entry"
    )
    site = models.ForeignKey(Site, on_delete=models.PROTECT, db_index=False)
    visible = models.BooleanField(help_text="Whether the step waits to be performed.")
    # YYYYMMDDHHMMSSFFFFFF and HHMMSSFFFFFF, wall clock, as answered. Fixed width: text order is time order under any
    # collation.
    start = models.CharField(max_length=20, blank=True)
    start_time = models.CharField(max_length=12, blank=True)
    modality = models.CharField(max_length=16, blank=True)
    any_station = models.BooleanField(help_text="No station was named: the step shows at every station.")
    # As answered (cut to the VR's length), so that what a modality sends back finds the step again.
    patient_id = models.CharField(max_length=64, blank=True)
    accession_number = models.CharField(max_length=16, blank=True)
    requested_procedure_id = models.CharField(max_length=16, blank=True)
    study_instance_uid = models.CharField(max_length=64, blank=True)
    sps_id = models.CharField(max_length=16, blank=True)
    # (0008,0005) of the answer.
    character_set = models.CharField(max_length=64)
    # The identifier with every attribute that we support, Explicit VR Little Endian, defined lengths.
    answer = models.BinaryField()

    class Meta:
        verbose_name_plural = "worklist entries"
        indexes: ClassVar = [
            models.Index(
                fields=["site", "modality", "start"], condition=models.Q(visible=True), name="entry_modality_start"
            ),
            models.Index(fields=["site", "start"], condition=models.Q(visible=True), name="entry_start"),
            # For beginnings too, which PostgreSQL looks up by this class of operators only.
            models.Index(
                fields=["patient_id"], condition=models.Q(visible=True), name="entry_patient_id",
                opclasses=["varchar_pattern_ops"],
            ),
            models.Index(fields=["requested_procedure_id"], condition=models.Q(visible=True), name="entry_procedure"),
            models.Index(fields=["sps_id"], condition=models.Q(visible=True), name="entry_sps_id"),
            models.Index(fields=["accession_number"], name="entry_accession", opclasses=["varchar_pattern_ops"]),
            models.Index(fields=["study_instance_uid"], name="entry_study_uid"),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"worklist entry {self.pk}"


class ScheduledStation(models.Model):
    """Where a visible entry is scheduled: a row for each station, or one with an empty AE title for any station.

    It repeats of the entry what stations ask with: one index gives a station its day, however many entries that has.
    """

    entry = models.ForeignKey(WorklistEntry, on_delete=models.CASCADE, related_name="stations")
    site = models.ForeignKey(Site, on_delete=models.PROTECT, db_index=False)
    ae_title = models.CharField(max_length=16, blank=True)
    start = models.CharField(max_length=20, blank=True)
    modality = models.CharField(max_length=16, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["site", "ae_title", "start", "modality", "entry"], name="scheduled_station"),
        ]

    def __str__(self) -> str:
        return f"station of worklist entry {self.entry_id}"


class MatchValue(models.Model):
    """One value of a matching key of which a visible entry has several: the groups of person names."""

    class Key(models.TextChoices):
        PATIENT_NAME = "patient", "Patient's Name, folded"
        PERFORMING_PHYSICIAN = "physician", "Scheduled Performing Physician's Name, folded"

    entry = models.ForeignKey(WorklistEntry, on_delete=models.CASCADE, related_name="match_values")
    key = models.CharField(max_length=9, choices=Key.choices)
    # An index of its own: on PostgreSQL it comes with one for LIKE.
    value = models.CharField(max_length=324, db_index=True)

    def __str__(self) -> str:
        return f"{self.key} of worklist entry {self.entry_id}"


class WorklistQuery(models.Model):
    """What a modality asked and what it got. The same answer to the same question again only counts up.

    Append-only but for the count of the latest row per question; nothing refers to it (to be partitioned by month).
    """

    site = models.ForeignKey(Site, on_delete=models.PROTECT)
    ae_title = models.CharField(max_length=16)
    address = models.GenericIPAddressField(null=True)
    # {keyword: value as asked}, only keys with a value.
    keys = models.JSONField(default=dict)
    status = models.PositiveIntegerField(help_text="The final DIMSE status.")
    number_of_answers = models.PositiveIntegerField(default=0)
    # The first steps that were sent, in order; sha256 over the status and all of them.
    step_ids = models.JSONField(default=list)
    answers_digest = models.CharField(max_length=64, default="")
    count = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField(auto_now_add=True)
    last_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "worklist queries"
        indexes: ClassVar = [
            models.Index(fields=["ae_title", "-last_at"], name="worklist_query_latest"),
            models.Index(fields=["-last_at"], name="worklist_query_last_at"),
        ]

    def __str__(self) -> str:
        return f"worklist query {self.pk}"
