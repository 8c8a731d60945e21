"""The tables of routing."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models

from orchestrator.models import Device, Instance, Site, Study, Work
from orchestrator.models.history import history
from orchestrator.states import DeliveryStatus


class Destination(models.Model):
    """Where studies are sent."""

    class Kind(models.TextChoices):
        DICOM = "dicom", "DICOM C-STORE"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=13, choices=Kind.choices, default=Kind.DICOM)
    device = models.ForeignKey(Device, on_delete=models.PROTECT, related_name="destinations")
    ae_title = models.CharField(max_length=16)
    host = models.CharField(max_length=255)
    port = models.PositiveIntegerField()
    required_for_custody = models.BooleanField(default=False)
    paused = models.BooleanField(default=False)
    history = history()

    def __str__(self) -> str:
        return self.name

    def event_links(self) -> dict[str, int | None]:
        return {}


class Line(Work):
    """The way to one destination, for all its deliveries: whose turn it is, and when a silent peer is tried again.

    `attempts`: how often in a row the peer could not be talked to, `last_error` how; then `next_attempt_at` is when it
    may be tried again, and the lease says that a worker does so now. Not part of the destination's history.
    """

    destination = models.OneToOneField(Destination, on_delete=models.CASCADE, related_name="line")
    served_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"line to destination {self.destination_id}"


class RuleSet(models.Model):
    """Rules that are edited as a draft and published as immutable versions."""

    name = models.CharField(max_length=100, unique=True)
    draft = models.JSONField(default=list)
    published = models.ForeignKey(
        "routing.RuleSetVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    history = history()

    def __str__(self) -> str:
        return self.name

    def event_links(self) -> dict[str, int | None]:
        return {}


class RuleSetVersion(models.Model):
    """One published state of a rule set. Never changed."""

    rule_set = models.ForeignKey(RuleSet, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    rules = models.JSONField()
    comment = models.TextField()
    # The older version that this one brought back, if it did.
    rolled_back_to = models.PositiveIntegerField(null=True, blank=True)
    published_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    published_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["rule_set", "number"], name="version_number_once")]

    def __str__(self) -> str:
        return f"{self.rule_set} version {self.number}"

    def save(self, *arguments: Any, **more: Any) -> None:
        """Only once: deliveries name it as what they were made by."""
        if not self._state.adding:
            raise TypeError(f"{self} is published and never changes.")
        super().save(*arguments, **more)


class Delivery(Work):
    """One rendition of a study on its way to one destination."""

    study = models.ForeignKey(Study, on_delete=models.PROTECT, related_name="deliveries")
    # Its study's, which never changes: lists of a site are read from an index of this table.
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="+", editable=False, db_index=False)
    destination = models.ForeignKey(Destination, on_delete=models.PROTECT, related_name="deliveries", db_index=False)
    rendition = models.CharField(max_length=64)
    status = models.CharField(max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.QUEUED)
    priority = models.CharField(max_length=8, default="normal")
    rule = models.CharField(max_length=100, blank=True, help_text="Name of the rule; empty when a person sent it.")
    version = models.ForeignKey(RuleSetVersion, on_delete=models.PROTECT, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["study", "destination", "rendition"], name="delivery_once_per_rendition")
        ]
        indexes: ClassVar = [
            models.Index(fields=["status", "next_attempt_at"], name="delivery_due"),
            models.Index(fields=["-created_at"], name="delivery_created"),
            models.Index(fields=["site", "-created_at"], name="delivery_site"),
            models.Index(fields=["status", "destination", "-created_at"], name="delivery_status"),
            models.Index(fields=["destination", "-created_at"], name="delivery_destination"),
            models.Index(fields=["destination", "-finished_at"], name="delivery_finished"),
        ]

    def __str__(self) -> str:
        return f"delivery {self.pk}"

    def save(self, *arguments: Any, **more: Any) -> None:
        """A new one stands at the site of its study."""
        if self._state.adding:
            self.site_id = self.study.site_id
        super().save(*arguments, **more)

    def event_links(self) -> dict[str, int | None]:
        return {"site_id": self.site_id, "patient_id": self.study.patient_id, "study_id": self.study_id}


class DeliveredInstance(models.Model):
    """What became of one instance at one destination."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="instances")
    instance = models.ForeignKey(Instance, on_delete=models.PROTECT, related_name="+")
    status = models.CharField(max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.QUEUED)
    dimse_status = models.PositiveIntegerField(null=True, blank=True)
    error = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["delivery", "instance"], name="instance_once_per_delivery")
        ]

    def __str__(self) -> str:
        return f"instance {self.instance_id} of delivery {self.delivery_id}"


class DeliveryAttempt(models.Model):
    """One try of a delivery, kept."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="tries")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(auto_now_add=True)
    sent = models.PositiveIntegerField(default=0)
    outcome = models.CharField(max_length=10, choices=DeliveryStatus.choices)
    error = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"attempt of delivery {self.delivery_id}"
