"""The editor of one rule: a condition builder of plain forms; a row more is one button more."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.views.decorators.http import require_http_methods

from orchestrator.permissions import require
from orchestrator.views import replies, viewer_of
from routing.forms import ConditionRows, RuleForm, SendRows
from routing.rules import GROUPS, sentence
from routing.services import rulesets

from .rules import PAGE, default_set, names

Rule = dict[str, Any]
_NEW: Rule = {"name": "", "enabled": True, "when": {"all": []}, "then": []}


@require_http_methods(["GET", "POST"])
def add(request: HttpRequest) -> HttpResponse:
    """A new rule, at the end of the draft."""
    return _edit(request, None)


@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, position: int) -> HttpResponse:
    """A rule of the draft."""
    return _edit(request, position)


def _edit(request: HttpRequest, position: int | None) -> HttpResponse:
    require(viewer_of(request), "routing.edit")
    rule_set = default_set()
    rules: list[Rule] = list(rule_set.draft)
    if position is not None and not 1 <= position <= len(rules):
        raise Http404
    rule = rules[position - 1] if position is not None else _NEW
    join = next(each for each in GROUPS if each in rule["when"])
    # Groups within the group are shown as a sentence, and kept as they are.
    kept = [node for node in rule["when"][join] if any(each in node for each in GROUPS)]
    typed = _typed(request) if "name" in request.POST else None
    main = RuleForm(typed, initial=_main(rule, join))
    if typed is not None:
        conditions, sends = ConditionRows(typed, prefix="condition"), SendRows(typed, prefix="send")
    else:
        rows = [_row(each) for each in rule["when"][join] if each not in kept]
        conditions = ConditionRows(prefix="condition", initial=rows)
        sends = SendRows(prefix="send", initial=[_send(each) for each in rule["then"] if each["action"] == "send"])
    stamp = request.POST.get("stamp") or rulesets.stamp_of(rule_set.draft)
    problem = ""
    sent = typed is not None and "more" not in typed
    if sent and all([main.is_valid(), conditions.is_valid(), sends.is_valid()]):
        new = _rule(main.cleaned_data, conditions.cleaned_data, kept, sends.cleaned_data)
        try:
            rulesets.edit_draft(rule_set_id=rule_set.pk, rules=_put(rules, position, new), stamp=stamp)
        except (rulesets.DraftChanged, rulesets.Invalid) as error:
            problem = str(error)
        else:
            return replies.done(request, "The draft is saved; nothing is routed by it until it is published.", to=PAGE)
    context = {
        "section": "routing",
        "heading": f"Rule {position}" if position else "A new rule",
        "subtitle": "in the draft",
        "main": main,
        "conditions": conditions,
        "sends": sends,
        "kept": sentence({"when": {"all": kept}, "then": []}, names()) if kept else "",
        "stamp": stamp,
        "problem": problem,
    }
    return replies.page(request, "routing/rule.html", "routing/_rule.html", context, status=422 if sent else 200)


def _typed(request: HttpRequest) -> QueryDict:
    """What was typed, with one row more where that was asked for. A row that was emptied is gone: none must stay."""
    typed = request.POST.copy()
    typed["condition-INITIAL_FORMS"] = typed["send-INITIAL_FORMS"] = "0"
    prefix = typed.get("more", "")
    if prefix in ("condition", "send"):
        total = typed.get(f"{prefix}-TOTAL_FORMS", "1")
        typed[f"{prefix}-TOTAL_FORMS"] = str(int(total) + 1 if total.isdecimal() and len(total) < 3 else 1)
    return typed


def _main(rule: Rule, join: str) -> dict[str, Any]:
    keep = any(each["action"] == "keep" for each in rule["then"])
    return {"name": rule["name"], "enabled": rule.get("enabled", True), "join": join, "keep": keep}


def _row(condition: Rule) -> dict[str, str]:
    value = condition.get("value", "")
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return {"field": condition["field"], "op": condition["op"], "value": text}


def _send(action: Rule) -> Rule:
    return {"destination": action["destination"], "priority": action.get("priority", "normal")}


def _rule(main: Rule, conditions: list[Rule], kept: list[Rule], sends: list[Rule]) -> Rule:
    when = [*(each["condition"] for each in conditions if each.get("condition")), *kept]
    then: list[Rule] = [
        {"action": "send", "destination": each["destination"].pk, "priority": each["priority"]}
        for each in sends
        if each.get("destination")
    ]
    if main["keep"]:
        then.append({"action": "keep"})
    return {"name": main["name"], "enabled": main["enabled"], "when": {main["join"]: when}, "then": then}


def _put(rules: list[Rule], position: int | None, rule: Rule) -> list[Rule]:
    if position is None:
        return [*rules, rule]
    return [*rules[: position - 1], rule, *rules[position:]]
