"""The record of what each modality asked and got."""

from collections.abc import Mapping, Sequence

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from worklists.models import WorklistQuery


@transaction.atomic
def record_query(
    *, site_id: int, ae_title: str, address: str, keys: Mapping[str, str], status: int, step_ids: Sequence[int]
) -> None:
    """Keep a query and its answer; the same again, directly after, is only counted."""
    now = timezone.now()
    latest = WorklistQuery.objects.filter(ae_title=ae_title).order_by("-pk").first()
    if (
        latest is not None
        and latest.address == address
        and latest.status == status
        and latest.keys == dict(keys)
        and latest.step_ids == list(step_ids)
    ):
        WorklistQuery.objects.filter(pk=latest.pk).update(count=F("count") + 1, last_at=now)
        return
    WorklistQuery.objects.create(
        site_id=site_id,
        ae_title=ae_title,
        address=address or None,
        keys=dict(keys),
        status=status,
        number_of_answers=len(step_ids),
        step_ids=list(step_ids),
        last_at=now,
    )
