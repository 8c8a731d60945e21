"""Where rules would send a study, and why; nothing is sent."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.models import IdentityClaim, Study
from orchestrator.states import ACQUISITIONS, Identity
from routing.rules import Plan, Reason, RuleError, evaluate
from routing.services.route import facts_of

GROUP_WORDS = {"all": "all of:", "any": "any of:", "none": "none of:"}


def explained(study: Study, rules: Sequence[Mapping[str, Any]], called: Mapping[int, str]) -> list[dict[str, Any]]:
    """One plan for each identity that the study's images claim, each with its reasons line by line."""
    plans = []
    for claim in study.claims.select_related("order__visit", "procedure").order_by("pk"):
        try:
            plan = evaluate(rules, facts_of(study, claim))
        except RuleError as error:
            plans.append({"error": str(error)})
        else:
            plans.append({**_told(plan, called), "waits": _waits(claim)})
    return plans


def _told(plan: Plan, called: Mapping[int, str]) -> dict[str, Any]:
    sends = [
        {"to": called.get(each.destination, "a destination that is gone"), "priority": each.priority, "rule": each.rule}
        for each in plan.sends
    ]
    whys = [{"name": name, "passed": why.passed, "nodes": _nodes(why, 0)} for name, why in plan.reasons.items()]
    return {"sends": sends, "keep": plan.keep, "whys": whys}


def _waits(claim: IdentityClaim) -> str:
    """Why the rules are not asked about these images now; empty when they are."""
    if claim.purpose not in ACQUISITIONS:
        return f"Rules are not asked about these images: they are {claim.get_purpose_display().lower()}."
    if claim.identity != Identity.MATCHED:
        return "Rules are asked once these images are matched."
    return ""


def _nodes(reason: Reason, depth: int) -> list[dict[str, Any]]:
    """The explanation line by line, each with its depth (0 to 3)."""
    text = GROUP_WORDS.get(reason.text, reason.text)
    if reason.text in GROUP_WORDS and not reason.children:
        text = f"{text} no condition"
    here = {"text": text, "passed": reason.passed, "depth": min(depth, 3)}
    return [here, *(node for child in reason.children for node in _nodes(child, depth + 1))]
