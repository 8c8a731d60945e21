"""Who looks at what right now: so that nobody works on the same thing as somebody else unknowingly."""

from typing import ClassVar

from django.conf import settings
from django.db import models


class Presence(models.Model):
    """Somebody has a page open on which two people can collide: a case, a draft of rules, a destination."""

    subject_type = models.CharField(max_length=40)
    subject_id = models.BigIntegerField()
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    seen_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["subject_type", "subject_id", "user"], name="presence_once")
        ]
        indexes: ClassVar = [models.Index(fields=["seen_at"], name="presence_seen")]

    def __str__(self) -> str:
        return f"user {self.user_id} on {self.subject_type} {self.subject_id}"
