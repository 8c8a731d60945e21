"""Who may come in, with which roles where, and what they looked at."""

from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models

from orchestrator.models.history import history

# What the first row of the chain over the access log is chained to.
GENESIS = "0" * 64


class Role(models.TextChoices):
    ADMINISTRATOR = "administrator", "Administrator"
    PACS_ADMINISTRATOR = "pacs_administrator", "PACS administrator"
    QA_TECHNOLOGIST = "qa_technologist", "QA technologist"
    MANAGER = "manager", "Manager"
    READER = "reader", "Reader"
    AUDITOR = "auditor", "Auditor"
    INTEGRATION = "integration", "Integration"


class User(AbstractUser):
    """A person, or an integration that uses the REST API."""

    time_zone = models.CharField(max_length=63, blank=True, help_text="Empty: the browser's site's zone.")
    history = history()


class RoleAssignment(models.Model):
    """A role of a user, at one site or (site empty) at all sites."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="role_assignments")
    role = models.CharField(max_length=20, choices=Role.choices)
    site = models.ForeignKey("orchestrator.Site", on_delete=models.CASCADE, null=True, blank=True)
    history = history()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "role", "site"], name="role_once_per_site"),
            models.UniqueConstraint(
                fields=["user", "role"], condition=models.Q(site__isnull=True), name="role_once_for_all_sites"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_role_display()} at {self.site or 'all sites'}"


class ApiToken(models.Model):
    """A key for the REST API, stored hashed. `scopes`: "read", "write"."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    prefix = models.CharField(max_length=8)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    history = history()

    def __str__(self) -> str:
        return f"{self.prefix}… ({self.name})"


class AccessEvent(models.Model):
    """One look at, or change of, something that carries PHI. Append-only; sealed into a hash chain."""

    at = models.DateTimeField(db_index=True)
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False)
    user_name = models.CharField(max_length=150)
    action = models.CharField(max_length=60)
    subject_type = models.CharField(max_length=40)
    subject_id = models.CharField(max_length=64, blank=True)
    address = models.GenericIPAddressField(null=True)
    number_of_records = models.PositiveIntegerField(default=1)
    # Set by the sealer: sha256 over the previous digest and this row, in order of `seal`.
    seal = models.BigIntegerField(null=True, unique=True)
    digest = models.CharField(max_length=64, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["user", "-at"], name="access_user"),
            models.Index(fields=["action", "-at"], name="access_action"),
        ]

    def __str__(self) -> str:
        return f"{self.user_name} {self.action} {self.subject_type} {self.subject_id}"


class AccessChain(models.Model):
    """Where the chain over the access log ends. One row: who cuts the log's end off leaves it behind."""

    seal = models.BigIntegerField(default=0)
    digest = models.CharField(max_length=64, default=GENESIS)

    def __str__(self) -> str:
        return f"chain of {self.seal}"
