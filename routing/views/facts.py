"""What routing knows about a study, for the study's page (settings.FACT_SOURCES)."""

from typing import Any

from orchestrator.models import Study
from orchestrator.permissions import Viewer, require
from orchestrator.states import DELIVERY_REACHED, DeliveryStatus
from routing import selectors


def study_facts(viewer: Viewer, study: Study) -> list[dict[str, Any]]:
    """Its deliveries, and since when each destination holds it. Raises PermissionDenied."""
    require(viewer, "deliveries.view", study.site_id)
    held = {(hop.device_id, hop.rendition): hop.at for hop in selectors.proofs(study)}
    found = list(selectors.deliveries(viewer).filter(study=study).order_by("pk"))
    doubtful = selectors.doubtful(found)
    rows = [
        {
            "delivery": each,
            "held_since": held.get((each.destination.device_id, each.rendition)),
            "doubtful": each.pk in doubtful,
        }
        for each in found
    ]
    wanted = [each.status for each in found if each.status != DeliveryStatus.CANCELED]
    sub = f"{sum(status in DELIVERY_REACHED for status in wanted)} of {len(wanted)} complete" if wanted else ""
    return [{"heading": "Deliveries", "sub": sub, "template": "routing/_study_deliveries.html", "rows": rows}]
