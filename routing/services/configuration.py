"""Destinations and rules as text, for `manage.py config` (settings.CONFIG_SECTIONS).

Of a rule set the draft is written and read: what is in force changes only when a person publishes it.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.models import Device
from orchestrator.services.configuration import Entry, Section, Unfit
from routing.models import Destination, RuleSet
from routing.services import destinations, rulesets

_COLUMNS = ("name", "ae_title", "host", "port", "required_for_custody")


def _write_destinations() -> list[Entry]:
    return [
        {**{name: getattr(each, name) for name in _COLUMNS}, "device": each.device.name}
        for each in Destination.objects.select_related("device").order_by("name")
    ]


def _read_destination(entry: Entry) -> None:
    """A destination by its name. The device of a new one must be there: the loop guard compares devices."""
    columns = {name: _of_type(name, value) for name, value in entry.items() if name != "device"}
    if strange := set(columns) - set(_COLUMNS):
        raise Unfit(sorted(strange)[0], "there is no such field")
    known = Destination.objects.filter(name=columns.get("name", "")).first()
    device = Device.objects.filter(name=entry.get("device", known.device.name if known else "")).first()
    if device is None:
        raise Unfit("device", f"there is no device named {entry.get('device')}")
    if missing := [name for name in _COLUMNS[:4] if name not in columns and not known]:
        raise Unfit(missing[0], "is needed")
    try:
        if known is None:
            destinations.create(**columns, device=device)
        elif known.device != device:
            raise Unfit("device", "a destination keeps its device: name the new one differently")
        else:
            destinations.change(destination=known, **columns)
    except destinations.Invalid as error:
        where, what = next(iter(error.problems.items()))
        raise Unfit(where, what) from error


def _of_type(name: str, value: Any) -> Any:
    kind = {"port": int, "required_for_custody": bool}.get(name, str)
    if type(value) is not kind:
        wanted = {str: f"text is needed: put {value} in quotes", int: "a number is needed"}
        raise Unfit(name, wanted.get(kind, "true or false is needed"))
    return value


def _named(rules: Any, names: Mapping[Any, Any]) -> Any:
    """The rules with their destinations by name instead of id, or the other way round."""
    return [
        {**rule, "then": [_named_action(action, names, f"draft[{number}].then[{place}]")
                          for place, action in enumerate(rule.get("then", []))]}
        for number, rule in enumerate(rules)
    ]  # fmt: skip


def _named_action(action: Any, names: Mapping[Any, Any], where: str) -> Any:
    if "destination" not in action:
        return action
    if action["destination"] not in names:
        raise Unfit(f"{where}.destination", f"there is no destination {action['destination']}")
    return {**action, "destination": names[action["destination"]]}


def _write_rule_sets() -> list[Entry]:
    names = dict(Destination.objects.values_list("pk", "name"))
    return [{"name": each.name, "draft": _named(each.draft, names)} for each in RuleSet.objects.order_by("name")]


def _read_rule_set(entry: Entry) -> None:
    if strange := set(entry) - {"name", "draft"}:
        raise Unfit(sorted(strange)[0], "there is no such field")
    if not isinstance(entry.get("name"), str):
        raise Unfit("name", "is needed, as text")
    ids = dict(Destination.objects.values_list("name", "pk"))
    known = RuleSet.objects.filter(name=entry["name"]).first()
    try:
        rules = _named(entry.get("draft") or [], ids)
        if known is None or rules != known.draft:
            rulesets.save_draft(rule_set=known or RuleSet.objects.create(name=entry["name"]), rules=rules)
    except rulesets.Invalid as error:
        where, what = error.problems[0]
        raise Unfit(where, what) from error
    except (AttributeError, TypeError) as error:
        raise Unfit("draft", "a list of rules is needed: {name, enabled, when, then}") from error


DESTINATIONS = Section(_write_destinations, _read_destination)
RULE_SETS = Section(_write_rule_sets, _read_rule_set)
