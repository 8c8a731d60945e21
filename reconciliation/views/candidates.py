"""The ranked candidates of a case, as its page draws them."""

from collections.abc import Sequence
from typing import Any

from orchestrator.models import ExceptionCase


def ranked(case: ExceptionCase) -> list[dict[str, Any]] | None:
    """The candidates of the case's claim, the best first; None while nothing compares claims with orders."""
    return None


def chosen(candidates: Sequence[dict[str, Any]], order: str) -> dict[str, Any] | None:
    """The candidate that `order` names, else the best."""
    named = [candidate for candidate in candidates if str(candidate["order_id"]) == order]
    return next(iter(named or candidates), None)


def preview(case: ExceptionCase, candidate: dict[str, Any]) -> dict[str, Any]:
    """What a match to the candidate would change."""
    return {"changes": [], "follows": []}
