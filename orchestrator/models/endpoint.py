"""Sites, devices and the peers that talk to us."""

from typing import ClassVar

from django.db import models

from orchestrator.models.history import history


class Site(models.Model):
    """One hospital or practice; roles and PHI are scoped by it."""

    code = models.CharField(max_length=16, unique=True)
    name = models.CharField(max_length=100)
    time_zone = models.CharField(max_length=63, default="UTC")
    # The issuer that identifiers without one belong to, when their sender has no default of its own.
    default_issuer = models.ForeignKey(
        "orchestrator.Issuer", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    history = history()

    def __str__(self) -> str:
        return self.name

    def event_links(self) -> dict[str, int | None]:
        return {"site_id": self.pk}


class Device(models.Model):
    """One machine (modality, archive, workstation, AI box); it may speak as several AEs."""

    class Kind(models.TextChoices):
        MODALITY = "modality", "Modality"
        ARCHIVE = "archive", "Archive"
        WORKSTATION = "workstation", "Workstation"
        PROCESSOR = "processor", "Processor"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=12, choices=Kind.choices, default=Kind.MODALITY)
    site = models.ForeignKey(Site, on_delete=models.PROTECT)
    history = history()

    def __str__(self) -> str:
        return self.name


class ApplicationEntity(models.Model):
    """A DICOM peer, known by AE title and (when `host` is set) address."""

    ae_title = models.CharField(max_length=16, unique=True)
    device = models.ForeignKey(Device, on_delete=models.PROTECT, related_name="application_entities")
    host = models.CharField(max_length=255, blank=True)
    port = models.PositiveIntegerField(null=True, blank=True)
    default_issuer = models.ForeignKey(
        "orchestrator.Issuer", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    # What data sets without (0008,0005) from this AE are decoded as, and what we answer it in (empty: our choice).
    default_character_set = models.CharField(max_length=64, blank=True)
    answer_character_set = models.CharField(max_length=64, blank=True)
    enabled = models.BooleanField(default=True)
    history = history()

    class Meta:
        verbose_name_plural = "application entities"

    def __str__(self) -> str:
        return self.ae_title


class HL7Application(models.Model):
    """A sending application and facility (MSH-3, MSH-4): one interface, whose messages keep their order."""

    sending_application = models.CharField(max_length=180, blank=True)
    sending_facility = models.CharField(max_length=180, blank=True)
    name = models.CharField(max_length=100)
    site = models.ForeignKey(Site, on_delete=models.PROTECT)
    default_issuer = models.ForeignKey(
        "orchestrator.Issuer", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    default_charset = models.CharField(max_length=32, blank=True, help_text="MSH-18 value assumed when empty.")
    enabled = models.BooleanField(default=True)
    # Not part of the history: counters that the listener moves with every commit.
    last_sequence = models.BigIntegerField(default=0)
    last_message_at = models.DateTimeField(null=True, blank=True)
    history = history()

    class Meta:
        verbose_name = "HL7 application"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["sending_application", "sending_facility"], name="hl7_application_once")
        ]

    def __str__(self) -> str:
        return self.name


class UnknownCaller(models.Model):
    """A peer that is not configured: recorded, and offered to the administrator to be allowed."""

    class Protocol(models.TextChoices):
        DICOM = "dicom", "DICOM"
        HL7 = "hl7", "HL7"

    protocol = models.CharField(max_length=5, choices=Protocol.choices)
    name = models.CharField(max_length=370, help_text="AE title, or MSH-3|MSH-4.")
    address = models.GenericIPAddressField()
    first_seen_at = models.DateTimeField(auto_now_add=True)
    last_seen_at = models.DateTimeField(auto_now=True)
    count = models.PositiveIntegerField(default=1)
    refused = models.BooleanField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["protocol", "name", "address"], name="unknown_caller_once")
        ]

    def __str__(self) -> str:
        return f"{self.name} at {self.address}"

    def event_links(self) -> dict[str, int | None]:
        return {}
