"""Entries that no station finds, because the rows of their stations are missing: looked for, and mended."""

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from orchestrator.models import ImagingServiceRequest, ScheduledProcedureStep
from worklists.models import ScheduledStation, WorklistEntry
from worklists.services.steps import project

_AT_ONCE = 200


def _lost() -> QuerySet[WorklistEntry]:
    stations = ScheduledStation.objects.filter(entry=OuterRef("pk"))
    return WorklistEntry.objects.filter(~Exists(stations), visible=True).order_by("pk")


def count_lost() -> int:
    """How many visible entries have no row of a station, not even of any."""
    return _lost().count()


def mend() -> int:
    """Write their entries anew; answers of how many. Workers and modalities may go on meanwhile."""
    mended, ids = 0, _mend_batch(after=0)
    while ids:
        mended, ids = mended + len(ids), _mend_batch(after=ids[-1])
    return mended


@transaction.atomic
def _mend_batch(*, after: int) -> list[int]:
    ids = list(_lost().filter(pk__gt=after).values_list("pk", flat=True)[:_AT_ONCE])
    # Locked as by all that change a step: an entry is written of its step as it is now.
    orders = list(ScheduledProcedureStep.objects.filter(pk__in=ids).values_list("procedure__order", flat=True))
    list(ImagingServiceRequest.objects.select_for_update(no_key=True).filter(pk__in=orders).order_by("pk"))
    project(ids)
    return ids
