"""Who else looks at the same thing."""

from datetime import timedelta

from django.utils import timezone

from orchestrator.models import Presence, User
from orchestrator.services.workflow import Subject

SECONDS = 30  # a page that is open says so every ten seconds
_KEPT = timedelta(days=1)


def present(about: Subject, *, user: User) -> list[User]:
    """Note that `user` looks at the thing now; answer who else does."""
    subject = {"subject_type": str(about._meta.model_name), "subject_id": about.pk}
    Presence.objects.update_or_create(**subject, user=user)
    since = timezone.now() - timedelta(seconds=SECONDS)
    others = Presence.objects.filter(**subject, seen_at__gte=since).exclude(user=user).select_related("user")
    return [each.user for each in others.order_by("seen_at", "pk")]


def forget_old() -> None:
    """Sweep: who left long ago is of no interest."""
    Presence.objects.filter(seen_at__lt=timezone.now() - _KEPT).delete()
