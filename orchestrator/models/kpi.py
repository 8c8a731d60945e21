"""What the KPIs count: one row per thing that counts, how many there are of each kind per hour and day, and targets."""

from typing import ClassVar

from django.db import models

from orchestrator.models.endpoint import Site
from orchestrator.models.history import history

# In `KpiTally.hour`: the tally of the whole day.
WHOLE_DAY = -1


class KpiSubject(models.TextChoices):
    """What a fact is about: `subject_id` is the row's id."""

    STUDY = "study", "Studies"
    CASE = "case", "Exceptions"
    ORDER = "order", "Orders"


class Dimensions(models.Model):
    """When (by the clock of the site), where, and what it came to."""

    subject = models.CharField(max_length=5, choices=KpiSubject.choices)
    day = models.DateField()
    hour = models.SmallIntegerField()
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="+")
    modality = models.CharField(max_length=16, blank=True)
    source = models.CharField(max_length=100, blank=True, help_text="Calling AE title or interface.")
    # kpis.counting says which there are: an outcome of a study, a move of a case, a bucket of durations.
    outcome = models.CharField(max_length=10)
    # Why the study was held, or the kind of the case.
    reason = models.CharField(max_length=60, blank=True)

    class Meta:
        abstract = True


class KpiFact(Dimensions):
    """One thing that counts, computed from the WorkflowEvents of its subject; a case that was reopened has several."""

    subject_id = models.BigIntegerField()
    # The place among the facts of its subject.
    number = models.PositiveSmallIntegerField(default=0)
    at = models.DateTimeField()
    # When a case that was opened at `at` was settled, empty while it is open. What has no length ends at once.
    until = models.DateTimeField(null=True)
    seconds = models.FloatField(null=True, help_text="How long it took, where that is what counts.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["subject", "subject_id", "number"], name="kpi_fact_once")
        ]
        indexes: ClassVar = [
            models.Index(fields=["subject", "-at"], name="kpi_fact_newest"),
            models.Index(fields=["subject", "source", "-at"], name="kpi_fact_source"),
            # Cases that were open at a time, and their ages: read from here alone.
            models.Index(
                fields=["at", "until", "day", "site", "modality", "source"],
                condition=models.Q(subject=KpiSubject.CASE),
                name="kpi_fact_open",
            ),
            models.Index(
                fields=["at", "site", "modality", "source", "reason"],
                condition=models.Q(until__isnull=True),
                name="kpi_fact_standing",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.outcome} of {self.subject} {self.subject_id}"


class KpiTally(Dimensions):
    """How many facts there are with these dimensions: in an hour, and (hour WHOLE_DAY) in a day."""

    count = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "KPI tallies"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subject", "hour", "day", "site", "modality", "source", "outcome", "reason"],
                name="kpi_tally_once",
            )
        ]
        indexes: ClassVar = [
            # Days and their parts are added up from here alone.
            models.Index(
                fields=["subject", "day", "outcome", "reason", "source", "site", "modality", "count"],
                condition=models.Q(hour=WHOLE_DAY),
                name="kpi_tally_days",
            )
        ]

    def __str__(self) -> str:
        return f"{self.count} {self.outcome} on {self.day}"


class KpiTarget(models.Model):
    """What a KPI should reach, where that is not its default."""

    name = models.CharField(max_length=40, unique=True)
    value = models.FloatField()
    history = history()

    def __str__(self) -> str:
        return f"target of {self.name}"
