"""What search box and palette find of routing (settings.SEARCH_PROVIDERS, RECENT), and what can be done there."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import Q
from django.urls import reverse

from orchestrator.permissions import Viewer, can, can_everywhere
from orchestrator.views.commands import Command
from routing import selectors
from routing.models import Destination, RuleSet

COMMANDS = (
    Command("Add a destination", "plus", "destinations.edit", url="/destinations/add/"),
    Command("Add a rule", "plus", "routing.edit", url="/routing/add/", everywhere=True),
    Command("Publish the rules", "send", "routing.publish", url="/routing/publish/", everywhere=True),
    Command("Failed deliveries", "fail", "deliveries.view", url="/deliveries/?status=FAILED&site=all"),
    Command("Deliveries that wait", "clock", "deliveries.view", url="/deliveries/?status=waiting&site=all"),
)


def find(viewer: Viewer, text: str, most: int) -> Iterator[dict[str, Any]]:
    """Rules and destinations by part of their name, destinations also by AE title."""
    if can(viewer, "destinations.view"):
        named = Q(name__icontains=text) | Q(ae_title__icontains=text)
        yield from map(_destination, selectors.destinations().filter(named)[:most])
    if can(viewer, "routing.view"):
        yield from list(_rules(viewer, text))[:most]


def destinations(viewer: Viewer, keys: Sequence[int]) -> Iterator[dict[str, Any]]:
    """These destinations, for those who may see any."""
    return map(_destination, selectors.destinations().filter(pk__in=keys if can(viewer, "destinations.view") else []))


def _destination(place: Destination) -> dict[str, Any]:
    return {
        "kind": "Destinations",
        "key": place.pk,
        "icon": "send",
        "title": place.name,
        "ident": place.ae_title,
        "sub": "Paused" if place.paused else "",
        "url": reverse("destination", args=[place.pk]),
    }


def _rules(viewer: Viewer, text: str) -> Iterator[dict[str, Any]]:
    """The rules of the draft, which are those that can be opened; who may not edit them is led to all rules."""
    rule_set = RuleSet.objects.filter(name="default").first()
    may_edit = can_everywhere(viewer, "routing.edit")
    for position, rule in enumerate(rule_set.draft if rule_set else [], 1):
        if text.lower() in str(rule.get("name", "")).lower():
            yield {
                "kind": "Rules",
                "key": position,
                "icon": "route",
                "title": rule["name"],
                "ident": "",
                "sub": "" if rule.get("enabled", True) else "switched off",
                "url": reverse("rule-edit", args=[position]) if may_edit else reverse("routing"),
            }
