"""Rules: conditions over plain facts, evaluated to destinations with an explanation. Pure."""

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any


class RuleError(Exception):
    """A rule that cannot be evaluated: where (a path) and why."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where, self.why = where, why


@dataclass(frozen=True)
class FieldType:
    """What a condition may ask of a field."""

    label: str
    kind: str  # text, number, time, list
    operators: tuple[str, ...]


_TEXT = ("eq", "ne", "in", "not_in", "contains", "starts_with", "is_empty", "is_set")
_NUMBER = ("eq", "ne", "lt", "le", "gt", "ge")
FIELDS: Mapping[str, FieldType] = {
    "modality": FieldType("modality", "text", _TEXT),
    "calling_ae_title": FieldType("calling AE title", "text", _TEXT),
    "site": FieldType("site", "text", _TEXT),
    "station_name": FieldType("station name", "text", _TEXT),
    "study_description": FieldType("study description", "text", _TEXT),
    "series_description": FieldType("series description", "list", ("contains", "is_empty", "is_set")),
    "body_part_examined": FieldType("body part", "list", ("eq", "contains", "is_empty", "is_set")),
    "sop_class_uid": FieldType("SOP class", "list", ("eq", "contains")),
    "procedure_code": FieldType("procedure code", "text", _TEXT),
    "priority": FieldType("priority", "text", ("eq", "ne", "in", "not_in")),
    "patient_class": FieldType("patient class", "text", _TEXT),
    "number_of_instances": FieldType("number of instances", "number", _NUMBER),
    "time": FieldType("time of day", "time", ("between",)),
    "weekday": FieldType("weekday (1 is Monday)", "number", (*_NUMBER, "in")),
}
OPERATORS: Mapping[str, str] = {
    "eq": "is", "ne": "is not", "in": "is one of", "not_in": "is none of", "contains": "contains",
    "starts_with": "starts with", "is_empty": "is empty", "is_set": "is not empty", "lt": "is less than",
    "le": "is at most", "gt": "is more than", "ge": "is at least", "between": "is between",
}  # fmt: skip
PRIORITIES = ("urgent", "normal", "offpeak")
GROUPS: Mapping[str, Callable[[Sequence[bool]], bool]] = {"all": all, "any": any, "none": lambda each: not any(each)}
_DEEPEST = 10
# A delivery keeps the name of its rule in a column of this length.
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Reason:
    """One node of the explanation: what was asked, what was there, and whether it held."""

    passed: bool
    text: str
    children: tuple["Reason", ...] = ()


@dataclass(frozen=True)
class Send:
    """A destination that a rule names."""

    destination: int
    priority: str
    rule: str


@dataclass(frozen=True)
class Plan:
    """Where a study goes. `keep`: a rule says that it stays here on purpose."""

    sends: tuple[Send, ...] = ()
    keep: bool = False
    reasons: Mapping[str, Reason] = field(default_factory=dict)


def evaluate(rules: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> Plan:
    """All enabled rules, in order; the first to name a destination sets its priority. Raises RuleError."""
    sends: dict[int, Send] = {}
    keep = False
    reasons = {}
    for number, rule in enumerate(rules):
        where = f"rules[{number}]"
        if not rule.get("enabled", True):
            continue
        name = str(rule.get("name") or where)
        reason = _group(rule.get("when", {}), facts, f"{where}.when", 0)
        reasons[name] = reason
        if not reason.passed:
            continue
        for action in rule.get("then", ()):
            if action.get("action") == "keep":
                keep = True
            elif action.get("action") == "send":
                destination = int(action["destination"])
                sends.setdefault(destination, Send(destination, action.get("priority") or "normal", name))
            else:
                raise RuleError(f"{where}.then", f"the action {action.get('action')!r} is not known")
    return Plan(tuple(sends.values()), keep, reasons)


def _group(node: Mapping[str, Any], facts: Mapping[str, Any], where: str, depth: int) -> Reason:
    if depth > _DEEPEST:
        raise RuleError(where, f"groups are nested more than {_DEEPEST} deep")
    names = [name for name in GROUPS if name in node]
    if len(names) != 1 or not isinstance(node[names[0]], list | tuple):
        raise RuleError(where, "a group is one of all, any, none with a list")
    name = names[0]
    children = tuple(
        _group(each, facts, f"{where}.{name}[{n}]", depth + 1)
        if _is_group(each)
        else _condition(each, facts, f"{where}.{name}[{n}]")
        for n, each in enumerate(node[name])
    )
    return Reason(GROUPS[name]([child.passed for child in children]), name, children)


def _is_group(node: Any) -> bool:
    return isinstance(node, Mapping) and any(name in node for name in GROUPS)


def _condition(node: Any, facts: Mapping[str, Any], where: str) -> Reason:
    problem = problem_of(node)
    if problem:
        raise RuleError(where, problem)
    name, operator, wanted = node["field"], node["op"], node.get("value")
    actual = facts.get(name)
    passed = _test(FIELDS[name].kind, operator, actual, wanted)
    text = f"{FIELDS[name].label} {OPERATORS[operator]} {_shown(wanted)}".strip()
    return Reason(passed, f"{text} (it is {_shown(actual) or 'empty'})")


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dt.time):
        return f"{value:%H:%M}"
    return "" if value is None else str(value)


def _test(kind: str, operator: str, actual: Any, wanted: Any) -> bool:
    if operator in ("is_empty", "is_set"):
        return bool(actual) == (operator == "is_set")
    if kind == "list":
        return any(_test("text", operator, each, wanted) for each in actual or ())
    if kind == "number":
        return _compare(operator, actual, wanted)
    if kind == "time":
        return _between(actual, wanted)
    have = str(actual or "").casefold()
    if operator in ("in", "not_in"):
        return (have in [str(each).casefold() for each in wanted]) == (operator == "in")
    want = str(wanted).casefold()
    return {
        "eq": have == want, "ne": have != want, "contains": want in have, "starts_with": have.startswith(want),
    }[operator]  # fmt: skip


def _compare(operator: str, actual: Any, wanted: Any) -> bool:
    if operator == "in":
        return int(actual or 0) in [int(each) for each in wanted]
    have, want = int(actual or 0), int(wanted)
    return {
        "eq": have == want, "ne": have != want, "lt": have < want, "le": have <= want, "gt": have > want,
        "ge": have >= want,
    }[operator]  # fmt: skip


def _between(actual: Any, wanted: Sequence[str]) -> bool:
    """A wall-clock time between two, over midnight when the first is later: 18:00 to 07:00 is the night."""
    start, end = (dt.time.fromisoformat(each) for each in wanted)
    if not isinstance(actual, dt.time):
        return False
    return start <= actual < end if start <= end else actual >= start or actual < end


def problem_of(node: Any) -> str:
    """What is wrong with a condition; empty when nothing is."""
    name = node.get("field") if isinstance(node, Mapping) else None
    if not isinstance(name, str) or name not in FIELDS:
        return "the field is not known"
    kind = FIELDS[name]
    operator, value = node.get("op"), node.get("value")
    if operator not in kind.operators:
        return f"{kind.label} cannot be asked with {operator!r}"
    if operator in ("is_empty", "is_set"):
        return ""
    if operator in ("in", "not_in"):
        if not isinstance(value, list | tuple) or not value:
            return "a list of values is needed"
        if kind.kind == "number":
            return "" if all(_is_number(each) for each in value) else "numbers are needed"
        return "" if all(isinstance(each, str) and each for each in value) else "a list of values is needed"
    if kind.kind == "number":
        return "" if _is_number(value) else "a number is needed"
    if kind.kind == "time":
        return "" if _is_span(value) else "two times are needed, as 18:00 and 07:00"
    return "" if isinstance(value, str) and value else "a value is needed"


def _is_number(value: Any) -> bool:
    """A whole number, or its text as a form sends it."""
    return isinstance(value, int | str) and re.fullmatch(r"-?[0-9]{1,9}", str(value)) is not None


def _is_span(value: Any) -> bool:
    """Two wall-clock times; a time with an offset from UTC is none."""
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(isinstance(each, str) for each in value):
        return False
    try:
        return all(dt.time.fromisoformat(each).tzinfo is None for each in value)
    except ValueError:
        return False


def validate(rules: Any, destinations: frozenset[int]) -> list[tuple[str, str]]:
    """All problems of a rule set as (path, message); empty when it can be published."""
    if not isinstance(rules, list):
        return [("rules", "a list of rules is needed")]
    problems: list[tuple[str, str]] = []
    names: set[str] = set()
    for number, rule in enumerate(rules):
        where = f"rules[{number}]"
        if not isinstance(rule, Mapping):
            problems.append((where, "a rule is an object"))
            continue
        name = rule.get("name")
        if not isinstance(name, str) or not name.strip():
            problems.append((f"{where}.name", "a name is needed"))
        elif len(name) > _LONGEST_NAME:
            problems.append((f"{where}.name", f"a name has at most {_LONGEST_NAME} characters"))
        elif name in names:
            problems.append((f"{where}.name", "another rule has this name"))
        names.add(str(name))
        if _holds_nul(rule):
            problems.append((where, "a text holds a NUL, which no database keeps"))
        if not isinstance(rule.get("enabled", True), bool):
            problems.append((f"{where}.enabled", "true or false is needed"))
        _validate_group(rule.get("when"), f"{where}.when", 0, problems)
        _validate_actions(rule.get("then"), f"{where}.then", destinations, problems)
    return problems


def _holds_nul(rule: Any) -> bool:
    """In any text of it, also of keys that nobody asks for; not by recursion, which hostile nesting would exhaust."""
    waiting = [rule]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str) and "\0" in node:
            return True
        if isinstance(node, Mapping):
            waiting += [*node, *node.values()]
        elif isinstance(node, list | tuple):
            waiting += node
    return False


def _validate_group(node: Any, where: str, depth: int, problems: list[tuple[str, str]]) -> None:
    names = [name for name in GROUPS if name in node] if isinstance(node, Mapping) else []
    if len(names) != 1 or not isinstance(node[names[0]], list) or depth > _DEEPEST:
        problems.append((where, "a group is one of all, any, none with a list, not nested too deep"))
        return
    for number, each in enumerate(node[names[0]]):
        inner = f"{where}.{names[0]}[{number}]"
        if _is_group(each):
            _validate_group(each, inner, depth + 1, problems)
        elif problem := problem_of(each):
            problems.append((inner, problem))


def _validate_actions(actions: Any, where: str, destinations: frozenset[int], problems: list[tuple[str, str]]) -> None:
    if not isinstance(actions, list) or not actions:
        problems.append((where, "at least one action is needed: send or keep"))
        return
    for number, action in enumerate(actions):
        inner = f"{where}[{number}]"
        kind = action.get("action") if isinstance(action, Mapping) else None
        if kind == "send":
            destination = action.get("destination")
            # True equals 1, and is no destination.
            if type(destination) is not int or destination not in destinations:
                problems.append((f"{inner}.destination", "this destination does not exist"))
            if action.get("priority", "normal") not in PRIORITIES:
                problems.append((f"{inner}.priority", f"a priority is one of {', '.join(PRIORITIES)}"))
        elif kind != "keep":
            problems.append((inner, "an action is send or keep"))


def sentence(rule: Mapping[str, Any], destinations: Mapping[int, str]) -> str:
    """A rule as a person says it."""
    targets: list[str] = []
    sends = [action for action in rule.get("then", ()) if action.get("action") != "keep"]
    for priority, group in groupby(sends, key=lambda each: each.get("priority", "normal")):
        called = [destinations.get(each.get("destination"), "a destination that is gone") for each in group]
        listed = " and ".join(filter(None, [", ".join(called[:-1]), called[-1]]))
        targets.append(f"send to {listed} at {priority} priority")
    if len(sends) < len(rule.get("then", ())):
        targets.append("keep it here")
    return f"When {_said(rule.get('when', {}))}, {' and '.join(targets)}"


def _said(node: Mapping[str, Any]) -> str:
    if not _is_group(node):
        label = FIELDS[node["field"]].label if node.get("field") in FIELDS else str(node.get("field"))
        return f"{label} {OPERATORS.get(str(node.get('op')), node.get('op'))} {_shown(node.get('value'))}".strip()
    name = next(each for each in GROUPS if each in node)
    parts = [_said(each) for each in node[name]]
    if not parts:
        return "nothing" if name == "any" else "any study comes"
    joined = (" and " if name == "all" else " or ").join(
        f"({part})" if name != "all" and "all" in each and len(each["all"]) > 1 else part
        for part, each in zip(parts, node[name], strict=True)
    )
    if name == "none":
        return f"not ({joined})"
    return f"({joined})" if name == "any" and len(parts) > 1 else joined
