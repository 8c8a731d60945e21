"""What a person decided about identity, and what that changes in what leaves (never in what came)."""

from typing import ClassVar

from django.db import models

from orchestrator.models.history import history
from orchestrator.models.study import IdentityClaim


class Decision(models.Model):
    """What a person did to a claim, with what is needed to take it back."""

    class Kind(models.TextChoices):
        MATCH = "match", "Matched to an order"
        REJECT = "reject", "Rejected"

    claim = models.ForeignKey(IdentityClaim, on_delete=models.PROTECT, related_name="decisions")
    case = models.ForeignKey("orchestrator.ExceptionCase", on_delete=models.PROTECT, related_name="decisions")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    # The order matched to, the reject code, … as taken.
    parameters = models.JSONField(default=dict)
    # What was seen: the evidence of the chosen candidate.
    evidence = models.JSONField(default=list)
    # The claim's columns before, for the undo.
    before = models.JSONField(default=dict)
    # Applies to later claims of the same study that are equal but for the calling AE.
    remember = models.BooleanField(default=True)
    reason = models.TextField(blank=True)
    by = models.ForeignKey("orchestrator.User", on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(auto_now_add=True)
    undone_at = models.DateTimeField(null=True, blank=True)
    undone_by = models.ForeignKey("orchestrator.User", on_delete=models.PROTECT, null=True, related_name="+")
    undo_reason = models.TextField(blank=True)
    history = history()

    class Meta:
        constraints: ClassVar = [
            # Two people (or two clicks) cannot both decide the same claim.
            models.UniqueConstraint(
                fields=["claim"], condition=models.Q(undone_at__isnull=True), name="one_decision_in_force"
            )
        ]

    def __str__(self) -> str:
        return f"decision {self.pk}"


class Correction(models.Model):
    """One attribute that leaves otherwise than it came: laid over at send with Original Attributes Sequence."""

    claim = models.ForeignKey(IdentityClaim, on_delete=models.CASCADE, related_name="corrections")
    # DICOM keyword, e.g. PatientID.
    attribute = models.CharField(max_length=64)
    old = models.CharField(max_length=400, blank=True)
    new = models.CharField(max_length=400, blank=True)
    why = models.CharField(max_length=200)
    # The decision it follows from; empty when it follows from the automatic match and the current order alone.
    decision = models.ForeignKey(Decision, on_delete=models.CASCADE, null=True, blank=True, related_name="corrections")
    created_at = models.DateTimeField(auto_now_add=True)
    history = history()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["claim", "attribute"], name="correction_once")]

    def __str__(self) -> str:
        return f"correction of {self.attribute} in claim {self.claim_id}"
