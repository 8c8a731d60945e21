"""The one event table, its subscriptions, and what every row of waiting work carries."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from orchestrator.models.history import ActorKind
from orchestrator.states import SubscriptionStatus


class Work(models.Model):
    """A row that is work to do: when next, who has it until when, and with which fencing number.

    All times are the database's. `services.leases` takes, renews and settles; a completing update must carry
    the fence it was taken with.
    """

    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True, db_default=Now(), db_index=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    fence = models.BigIntegerField(default=0)
    last_error = models.TextField(blank=True)

    class Meta:
        abstract = True


class WorkflowEvent(models.Model):
    """Something that happened, written in the transaction in which it happened. Append-only."""

    name = models.CharField(max_length=60)
    at = models.DateTimeField(db_default=Now())
    subject_type = models.CharField(max_length=40)
    subject_id = models.BigIntegerField()
    from_state = models.CharField(max_length=20, blank=True)
    to_state = models.CharField(max_length=20, blank=True)
    actor_kind = models.CharField(max_length=10, choices=ActorKind.choices)
    actor_name = models.CharField(max_length=150)
    reason = models.TextField(blank=True)
    detail = models.JSONField(default=dict)
    # Plain numbers, not foreign keys: this table is to be partitioned by month and nothing refers to it.
    site_id = models.BigIntegerField(null=True)
    patient_id = models.BigIntegerField(null=True)
    order_id = models.BigIntegerField(null=True)
    study_id = models.BigIntegerField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["study_id", "at"], condition=models.Q(study_id__isnull=False), name="event_study"),
            models.Index(fields=["order_id", "at"], condition=models.Q(order_id__isnull=False), name="event_order"),
            models.Index(
                fields=["patient_id", "at"],
                condition=models.Q(patient_id__isnull=False),
                name="event_patient",
            ),
            models.Index(fields=["subject_type", "subject_id", "at"], name="event_subject"),
            models.Index(fields=["name", "at"], name="event_name"),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.subject_type} {self.subject_id}"


class Subscription(Work):
    """One event owed to one subscriber. Self-contained, so that the event table can be partitioned."""

    event_id = models.BigIntegerField(db_index=True)
    event_name = models.CharField(max_length=60)
    subject_id = models.BigIntegerField()
    subscriber = models.CharField(max_length=200)
    queue = models.CharField(max_length=20)
    status = models.CharField(max_length=8, choices=SubscriptionStatus.choices, default=SubscriptionStatus.PENDING)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["next_attempt_at"],
                condition=models.Q(status=SubscriptionStatus.PENDING),
                name="subscription_due",
            )
        ]

    def __str__(self) -> str:
        return f"{self.event_name} for {self.subscriber}"

    def event_links(self) -> dict[str, int | None]:
        return {}
