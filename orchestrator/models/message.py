"""HL7 messages as they came."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from orchestrator.models.endpoint import HL7Application, Site
from orchestrator.models.workflow import Work
from orchestrator.states import InboundStatus


class InboundMessage(Work):
    """A message, committed before its acknowledgement. The raw bytes are never changed."""

    interface = models.ForeignKey(
        HL7Application, on_delete=models.PROTECT, null=True, related_name="messages", db_index=False
    )
    site = models.ForeignKey(Site, on_delete=models.PROTECT, db_index=False)
    # Nothing looks for messages by this time: the sweep asks for their status.
    next_attempt_at = models.DateTimeField(null=True, blank=True, db_default=Now())
    # Order within the interface, given at commit; empty for what was refused before it had one.
    sequence = models.BigIntegerField(null=True)
    control_id = models.CharField(max_length=199, blank=True)
    message_type = models.CharField(max_length=32, blank=True, help_text="MSH-9 as TYPE^EVENT.")
    raw = models.BinaryField()
    charset = models.CharField(max_length=64, blank=True, help_text="MSH-18 as sent.")
    # sha256 of the bytes: with the control id, the key of a repetition.
    digest = models.CharField(max_length=64)
    sent_at = models.DateTimeField(null=True, blank=True, help_text="MSH-7.")
    address = models.GenericIPAddressField(null=True)
    received_at = models.DateTimeField()
    status = models.CharField(max_length=11, choices=InboundStatus.choices, default=InboundStatus.RECEIVED)
    ack = models.BinaryField(default=bytes)
    ack_code = models.CharField(max_length=2, blank=True)
    # What failed, for a person: "PID-3: required field is empty".
    error = models.TextField(blank=True)
    applied_at = models.DateTimeField(null=True, blank=True)
    # A person has seen the conflict that it was set aside for, and wants it applied.
    confirmed = models.BooleanField(default=False)
    # These are indexed where they are told, below: a message that has just come would pay for four empty entries.
    waits_for = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="waiting", db_index=False
    )
    duplicate_of = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="repeats", db_index=False
    )
    patient = models.ForeignKey(
        "orchestrator.Patient", on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    order = models.ForeignKey(
        "orchestrator.ImagingServiceRequest",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="messages",
        db_index=False,
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["interface", "sequence"], name="message_sequence_once")
        ]
        indexes: ClassVar = [
            # Searched by control id, and asked for a repetition.
            models.Index(fields=["control_id", "interface", "digest"], name="message_control_id"),
            models.Index(fields=["-received_at"], name="message_received"),
            models.Index(fields=["status", "-received_at"], name="message_status"),
            models.Index(fields=["interface", "-received_at"], name="message_interface"),
            models.Index(fields=["site", "-received_at"], name="message_site"),
            models.Index(
                fields=["interface", "sequence"],
                condition=models.Q(status=InboundStatus.RECEIVED),
                name="message_to_apply",
            ),
            *(
                models.Index(fields=[name], condition=models.Q((f"{name}__isnull", False)), name=f"message_{name}")
                for name in ("waits_for", "duplicate_of", "patient", "order")
            ),
        ]

    def __str__(self) -> str:
        return f"message {self.pk}"

    def event_links(self) -> dict[str, int | None]:
        return {"site_id": self.site_id, "patient_id": self.patient_id, "order_id": self.order_id}


class MessageKey(models.Model):
    """One thing that a message is about which was set aside and is not settled: later messages about it wait.

    There are rows for such messages only (promise 10).
    """

    key = models.CharField(max_length=255)
    message = models.ForeignKey(InboundMessage, on_delete=models.CASCADE, related_name="keys")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["key", "message"], name="message_key_once")]

    def __str__(self) -> str:
        return f"key {self.pk} of message {self.message_id}"
