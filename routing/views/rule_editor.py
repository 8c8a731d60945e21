"""The editor of one rule: a condition builder of plain forms; a row more or less is one button more."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from orchestrator.permissions import require_everywhere
from orchestrator.views import replies, viewer_of
from routing.forms import ConditionRows, RuleForm, SendRows, text_of
from routing.rules import GROUPS, sentence
from routing.services import rulesets

from .rules import PAGE, SAVED, default_set, in_words, names, present

Rule = dict[str, Any]
_NEW: Rule = {"name": "", "enabled": True, "when": {"all": []}, "then": []}
_COLUMNS = {"condition": ("field", "op", "value"), "send": ("destination", "priority")}
_MOST_ROWS = 60


@require_http_methods(["GET", "POST"])
def add(request: HttpRequest) -> HttpResponse:
    """A new rule, at the end of the draft."""
    return _edit(request, None)


@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, position: int) -> HttpResponse:
    """A rule of the draft."""
    return _edit(request, position)


def _edit(request: HttpRequest, position: int | None) -> HttpResponse:
    require_everywhere(viewer_of(request), "routing.edit")
    rule_set = default_set()
    rules: list[Rule] = list(rule_set.draft)
    typed = request.POST if "name" in request.POST else None
    index = None if position is None else _index(rules, position - 1, typed)
    if index is None and position is not None and typed is None:
        raise Http404
    rule = _NEW if index is None else rules[index]
    join = next(each for each in GROUPS if each in rule["when"])
    # Groups within the group are shown as a sentence, and kept as they are.
    kept = [node for node in rule["when"][join] if any(each in node for each in GROUPS)]
    context: dict[str, Any] = {
        "section": "routing",
        "presence": present(request),
        "heading": "A new rule" if position is None else f"Rule {position if index is None else index + 1}",
        "subtitle": "in the draft",
        "kept": [_phrase(node) for node in kept],
        "stamp": rulesets.stamp_of(rules) if typed is None else typed.get("stamp", ""),
        "was": rulesets.stamp_of(rule) if typed is None else typed.get("was", ""),
        "action": reverse("rule-add") if index is None else reverse("rule-edit", args=[index + 1]),
        "problems": [],
    }
    if typed is None or "more" in typed or "less" in typed:
        context |= _rows(rule, join, kept) if typed is None else _rows_typed(typed)
        return replies.page(request, "routing/rule.html", "routing/_rule.html", context)
    context |= {
        "main": RuleForm(typed), "conditions": ConditionRows(_all_new(typed, "condition"), prefix="condition"),
        "sends": SendRows(_all_new(typed, "send"), prefix="send", form_kwargs={"called": names()}),
    }  # fmt: skip
    gone = position is not None and index is None
    if _save(rule_set.pk, rules, index, {**rule, "kept": kept}, context, gone=gone):
        return replies.done(request, SAVED, to=PAGE)
    return replies.page(request, "routing/rule.html", "routing/_rule.html", context, status=422)


def _index(rules: list[Rule], index: int, typed: QueryDict | None) -> int | None:
    """Where the rule that is edited stands now: others may have moved it, changed it, or taken it out (None)."""
    if typed is None:
        return index if 0 <= index < len(rules) else None
    was = typed.get("was", "")
    return next((number for number, rule in enumerate(rules) if rulesets.stamp_of(rule) == was), None)


def _phrase(node: Rule) -> str:
    return sentence({"when": node, "then": []}, {}).removeprefix("When ").removesuffix(", ")


def _save(
    rule_set_id: int, rules: list[Rule], index: int | None, rule: Rule, context: dict[str, Any], *, gone: bool
) -> bool:
    """Put what was typed into the draft; or say in the context at which field it cannot be."""
    main, conditions, sends = context["main"], context["conditions"], context["sends"]
    if not all([main.is_valid(), conditions.is_valid(), sends.is_valid()]):
        context["problems"] = [*conditions.non_form_errors(), *sends.non_form_errors()]
        return False
    new = _rule(rule, main.cleaned_data, conditions.cleaned_data, sends.cleaned_data)
    # A rule that is gone is not added again, whatever stamp comes with it.
    stamp = "" if gone and context["stamp"] == rulesets.stamp_of(rules) else context["stamp"]
    try:
        rulesets.edit_draft(rule_set_id=rule_set_id, rules=_put(rules, index, new), stamp=stamp)
    except rulesets.DraftChanged as error:
        context["problems"] = [str(error)]
        if gone:
            context["problems"].append("This rule itself was changed or taken out: look at the draft first.")
        else:
            # The rule is as it was seen, or new: what the others changed stays when it is saved again.
            context["stamp"] = rulesets.stamp_of(rules)
            context["problems"].append("Save again to put yours into the draft as it is now.")
    except rulesets.Invalid as error:
        _tell(error, len(rules) if index is None else index, _put(rules, index, new), context)
    else:
        return True
    return False


def _tell(error: rulesets.Invalid, index: int, rules: list[Rule], context: dict[str, Any]) -> None:
    """What the rules refused, each at its part of the form; of other rules above it."""
    elsewhere = []
    for path, message in error.problems:
        part = path.removeprefix(f"rules[{index}]")
        if part == ".name":
            context["main"].add_error("name", message)
        elif part.startswith((".when", ".then")):
            context[f"{part[1:5]}_problem"] = message
        else:
            elsewhere.append((path, message))
    context["problems"] = in_words(elsewhere, rules)


def _rows(rule: Rule, join: str, kept: list[Rule]) -> dict[str, Any]:
    keep = any(each["action"] == "keep" for each in rule["then"])
    main = {"name": rule["name"], "enabled": rule.get("enabled", True), "join": join, "keep": keep}
    conditions = [_row(each) for each in rule["when"][join] if each not in kept]
    sends = [
        {"destination": each["destination"], "priority": each.get("priority", "normal")}
        for each in rule["then"]
        if each["action"] == "send"
    ]
    return {
        "main": RuleForm(initial=main),
        "conditions": ConditionRows(prefix="condition", initial=conditions),
        "sends": SendRows(prefix="send", initial=sends, form_kwargs={"called": names()}),
    }


def _row(condition: Rule) -> dict[str, str]:
    value = condition.get("value", "")
    text = text_of(value) if isinstance(value, list) else str(value)
    return {"field": condition["field"], "op": condition["op"], "value": text}


def _rows_typed(typed: QueryDict) -> dict[str, Any]:
    """The form as it was typed, with a row more or without one, and not yet judged."""
    rows = {prefix: _typed(typed, prefix) for prefix in _COLUMNS}
    prefix, _, number = typed.get("less", "").partition("-")
    if prefix in rows and number.isdecimal() and len(number) < 3:
        del rows[prefix][int(number) : int(number) + 1]
    for name, each in rows.items():
        # Every form set has one empty row at its end; the others stay only where one more was asked for.
        while each and typed.get("more") != name and not each[-1][_COLUMNS[name][0]] and not each[-1].get("value"):
            each.pop()
    main = {"name": typed.get("name"), "join": typed.get("join")}
    ticked = {"enabled": "enabled" in typed, "keep": "keep" in typed}
    return {
        "main": RuleForm(initial={**main, **ticked}),
        "conditions": ConditionRows(prefix="condition", initial=rows["condition"]),
        "sends": SendRows(prefix="send", initial=rows["send"], form_kwargs={"called": names()}),
        "fresh": typed.get("more", ""),
    }


def _typed(typed: QueryDict, prefix: str) -> list[dict[str, str]]:
    total = typed.get(f"{prefix}-TOTAL_FORMS", "")
    number = min(int(total), _MOST_ROWS) if total.isdecimal() and len(total) < 4 else 0
    return [{name: typed.get(f"{prefix}-{row}-{name}", "") for name in _COLUMNS[prefix]} for row in range(number)]


def _all_new(typed: QueryDict, prefix: str) -> QueryDict:
    """The rows as they were typed. A row that was emptied is gone: no row must stay."""
    data = typed.copy()
    data[f"{prefix}-INITIAL_FORMS"] = "0"
    return data


def _rule(rule: Rule, main: Rule, conditions: list[Rule], sends: list[Rule]) -> Rule:
    """The rule as it was, with what the form shows of it."""
    when = [*(each["condition"] for each in conditions if each.get("condition")), *rule.pop("kept")]
    then: list[Rule] = [
        {"action": "send", "destination": each["destination"], "priority": each["priority"]}
        for each in sends
        if each.get("destination")
    ]
    if main["keep"]:
        then.append({"action": "keep"})
    return {**rule, "name": main["name"], "enabled": main["enabled"], "when": {main["join"]: when}, "then": then}


def _put(rules: list[Rule], index: int | None, rule: Rule) -> list[Rule]:
    if index is None:
        return [*rules, rule]
    return [*rules[:index], rule, *rules[index + 1 :]]
