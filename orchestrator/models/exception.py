"""The exceptions queue: what does not align, until a person settles it."""

from typing import ClassVar

from django.conf import settings
from django.db import models

from orchestrator.models.endpoint import Site
from orchestrator.models.history import history
from orchestrator.models.message import InboundMessage
from orchestrator.models.order import ImagingServiceRequest
from orchestrator.models.patient import Patient
from orchestrator.models.study import IdentityClaim, Study
from orchestrator.states import CASE_OPEN, CASE_WAITING, CaseStatus


class ExceptionCase(models.Model):
    """A mismatch that a person settles. Opened in the failing transaction (promise 5)."""

    # One of the registered CASE_KINDS.
    kind = models.CharField(max_length=40)
    reason_code = models.CharField(max_length=60)
    # One sentence: what happened and what to do. No patient data: the links below lead to it.
    summary = models.CharField(max_length=300)
    status = models.CharField(max_length=9, choices=CaseStatus.choices, default=CaseStatus.OPEN)
    site = models.ForeignKey(Site, on_delete=models.PROTECT, db_index=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="cases"
    )
    # What the case is about. At most one open case per kind and subject.
    subject_type = models.CharField(max_length=40)
    subject_id = models.BigIntegerField()
    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    order = models.ForeignKey(ImagingServiceRequest, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    study = models.ForeignKey(Study, on_delete=models.PROTECT, null=True, blank=True, related_name="cases")
    claim = models.ForeignKey(IdentityClaim, on_delete=models.PROTECT, null=True, blank=True, related_name="cases")
    message = models.ForeignKey(InboundMessage, on_delete=models.PROTECT, null=True, blank=True, related_name="cases")
    # Columns of the queue, written by the app that knows them.
    modality = models.CharField(max_length=16, blank=True)
    source = models.CharField(max_length=100, blank=True, help_text="Calling AE title or interface.")
    best_candidate = models.CharField(max_length=64, blank=True, help_text="Accession number of the best candidate.")
    best_score = models.PositiveSmallIntegerField(null=True, blank=True, help_text="0 to 100.")
    # The failing input's facts, as the opener saw them.
    detail = models.JSONField(default=dict)
    opened_at = models.DateTimeField(auto_now_add=True)
    due_at = models.DateTimeField()
    snoozed_until = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution = models.CharField(max_length=60, blank=True)
    history = history()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["kind", "subject_type", "subject_id"],
                condition=models.Q(status__in=sorted(CASE_OPEN)),
                name="one_open_case_per_subject",
            )
        ]
        indexes: ClassVar = [
            # By state, how many and how old: what is told of them to programs is read from here too.
            models.Index(
                fields=["due_at", "status", "opened_at"],
                condition=models.Q(status__in=sorted(CASE_OPEN)),
                name="case_open_due",
            ),
            # All that the queue is counted and filtered by: on SQLite its figures are read from here alone.
            models.Index(fields=["status", "due_at", "kind", "site", "modality", "source", "owner"], name="case_queue"),
            models.Index(fields=["-resolved_at"], name="case_resolved"),
            # What waits is counted in this order: in the navigation of every page, the control room and the queue.
            # PostgreSQL alone reads it: SQLite does not see that states given as parameters fit the condition.
            models.Index(
                fields=["kind", "site", "modality", "source", "owner", "due_at", "opened_at"],
                condition=models.Q(status__in=sorted(CASE_WAITING)),
                name="case_waiting",
            ),
        ]

    def __str__(self) -> str:
        return f"EX-{self.pk}"

    def event_links(self) -> dict[str, int | None]:
        return {
            "site_id": self.site_id,
            "patient_id": self.patient_id,
            "order_id": self.order_id,
            "study_id": self.study_id,
        }
