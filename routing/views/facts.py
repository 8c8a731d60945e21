"""What routing knows about a study, for pages of others (settings.FACT_SOURCES, CONSEQUENCES)."""

import copy
from collections.abc import Iterator
from typing import Any

from orchestrator.models import IdentityClaim, RequestedProcedure, Study
from orchestrator.permissions import Viewer, can, require
from orchestrator.services.corrections import differences
from orchestrator.states import DELIVERY_REACHED, DeliveryStatus
from routing import selectors
from routing.models import DeliveredInstance, Destination, RuleSet
from routing.rules import RuleError, Send, evaluate
from routing.selectors import PERHAPS_THERE
from routing.services.route import facts_of


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


def consequences(viewer: Viewer, claim: IdentityClaim, procedure: RequestedProcedure | None) -> list[dict[str, str]]:
    """Where the claim's images would go once matched to the procedure's order; None: what taking the match back does.

    Nothing is written.
    """
    if not can(viewer, "routing.view"):
        return []
    said = _taken_back(viewer, claim) if procedure is None else _routed(claim, procedure)
    return [{"icon": icon, "text": text} for icon, text in said]


def _routed(claim: IdentityClaim, procedure: RequestedProcedure) -> Iterator[tuple[str, str]]:
    rule_set = RuleSet.objects.select_related("published").filter(name="default").first()
    version = rule_set.published if rule_set else None
    if version is None:
        yield "warn", "No rules are published: they stay here, and a case asks for a route."
        return
    as_matched = copy.copy(claim)
    as_matched.order, as_matched.procedure = procedure.order, procedure
    try:
        plan = evaluate(version.rules, facts_of(claim.study, as_matched))
    except RuleError as error:
        yield "warn", f"Rules version {version.number} cannot be evaluated ({error}): they stay here, and a case opens."
        return
    known = selectors.destinations().in_bulk([each.destination for each in plan.sends])
    for send in plan.sends:
        yield _to(send, known.get(send.destination), as_matched)
    if not plan.sends:
        yield (
            ("lock", f"Rules version {version.number} keeps them here.")
            if plan.keep
            else ("warn", f"No rule of version {version.number} sends them: a case asks for a route.")
        )


def _to(send: Send, destination: Destination | None, claim: IdentityClaim) -> tuple[str, str]:
    """One destination, by which rule; or why it gets nothing."""
    if destination is None:
        return "warn", f"The rule “{send.rule}” names a destination that is gone: a case opens."
    order = claim.order
    unchanged = order is None or not differences(claim, order.patient, order)
    if unchanged and destination.device.application_entities.filter(ae_title=claim.calling_ae_title).exists():
        return "ban", f"Not back to {destination}, where they came from."
    waits = ", which is paused" if destination.paused else ""
    return "send", f"To {destination}{waits}, by the rule “{send.rule}”."


def _taken_back(viewer: Viewer, claim: IdentityClaim) -> Iterator[tuple[str, str]]:
    of_claim = DeliveredInstance.objects.filter(instance__claim=claim)
    there = set(of_claim.filter(status__in=PERHAPS_THERE).values_list("delivery", flat=True))
    found = selectors.deliveries(viewer).filter(pk__in=of_claim.values("delivery")).order_by("pk")
    for delivery in found:
        if delivery.pk in there:
            yield "inbox", f"{delivery.destination} has images already: a case opens for it, since they stay there."
        elif delivery.status != DeliveryStatus.CANCELED:
            yield "stop", f"What waits for {delivery.destination} will not be sent."
