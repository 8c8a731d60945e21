"""Who else looks at the same thing."""

from datetime import timedelta

from django.utils import timezone

from orchestrator.models import Presence, User
from orchestrator.services.workflow import Subject

SECONDS = 90  # a page that is open says so every ten seconds, in a hidden tab once a minute
_KEPT = timedelta(days=1)


def present(about: Subject, *, user_id: int) -> list[User]:
    """Note that this user looks at the thing now; answer who else does."""
    subject = {"subject_type": str(about._meta.model_name), "subject_id": about.pk}
    Presence.objects.bulk_create(
        [Presence(**subject, user_id=user_id, seen_at=timezone.now())],
        update_conflicts=True, unique_fields=[*subject, "user"], update_fields=["seen_at"],
    )  # fmt: skip
    since = timezone.now() - timedelta(seconds=SECONDS)
    others = Presence.objects.filter(**subject, seen_at__gte=since).exclude(user=user_id).select_related("user")
    return [each.user for each in others.order_by("seen_at", "pk")]


def forget_old() -> None:
    """Sweep: who left long ago is of no interest."""
    Presence.objects.filter(seen_at__lt=timezone.now() - _KEPT).delete()
