"""What the KPIs should reach: kept with who set it and why, and part of `manage.py config`."""

from django.core.exceptions import ValidationError
from django.db import transaction

from orchestrator.kpis.counting import EDGES, bucket_of
from orchestrator.kpis.definitions import DEFINITIONS
from orchestrator.models import KpiTarget
from orchestrator.services.configuration import Table


@transaction.atomic
def set_target(*, name: str, value: float, reason: str) -> KpiTarget:
    """From now on, for all sites; what is as it was is not written. Raises ValidationError."""
    target = KpiTarget.objects.select_for_update().filter(name=name).first() or KpiTarget(name=name)
    if target.value == value:
        return target
    target.value = value
    check(target)
    target._change_reason = reason  # type: ignore[attr-defined]  # read by django-simple-history
    target.save()
    return target


def check(target: KpiTarget) -> None:
    """A share is a percentage, a duration one that is counted, nothing is below nothing."""
    definition = DEFINITIONS.get(target.name)
    if definition is None:
        raise ValidationError({"name": f"There is no KPI {target.name}; there are {', '.join(DEFINITIONS)}."})
    most = 100 if definition.unit == "%" else 1e9
    if not 0 <= target.value <= most:
        raise ValidationError({"value": f"From 0 to {most:,.0f}."})
    if definition.unit == "s" and target.value not in EDGES:
        place = bucket_of(target.value)
        near = " or ".join(f"{each:g}" for each in EDGES[max(place - 1, 0) : place + 1])
        raise ValidationError({"value": f"Durations are counted in steps, which do not end there: choose {near} s."})


KPI_TARGETS = Table(KpiTarget, ("name",), ("value",), check=check).section()
