"""The tables of reconciliation."""

from typing import ClassVar

from django.db import models

from orchestrator.models import IdentityClaim


class MatchRun(models.Model):
    """One comparison of a claim with the orders of its time: what was found, and why that was or was not enough."""

    claim = models.ForeignKey(IdentityClaim, on_delete=models.CASCADE, related_name="match_runs")
    at = models.DateTimeField(auto_now_add=True)
    reason_code = models.CharField(max_length=40)
    # Ranked: [{step, order, patient, accession_number, score, qualifies, evidence: [{field, verdict, …}]}]
    candidates = models.JSONField(default=list)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["claim", "-at"], name="match_run_latest")]

    def __str__(self) -> str:
        return f"match run {self.pk} of claim {self.claim_id}"
