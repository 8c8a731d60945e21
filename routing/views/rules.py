"""The rules as people read them: a draft that is edited, versions that were published, and why a study goes where."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from orchestrator.audit import record_access
from orchestrator.models import Study
from orchestrator.permissions import Viewer, can_everywhere, require, require_everywhere
from orchestrator.selectors import studies
from orchestrator.views import presence, replies, viewer_of
from routing.forms import StampForm, TryForm
from routing.models import Destination, RuleSet
from routing.rules import sentence
from routing.services import rulesets

from .trying import explained

PAGE = "/routing/"
SAVED = "The draft is saved; nothing is routed by it until it is published."
_VERSIONS = 50
_DOING = "has the rules open"


def present(request: HttpRequest) -> dict[str, Any]:
    """Who else looks at or edits the rules."""
    return presence.told(request, default_set(), url=reverse("routing-presence"), doing=_DOING)


@require_GET
def who_is_here(request: HttpRequest) -> HttpResponse:
    """Polled by the pages of the rules."""
    require(viewer_of(request), "routing.view")
    return presence.answer(request, default_set(), doing=_DOING)


def default_set() -> RuleSet:
    return get_object_or_404(RuleSet.objects.select_related("published__published_by"), name="default")


def names() -> dict[int, str]:
    """Destinations by id, for sentences."""
    return dict(Destination.objects.values_list("pk", "name"))


def said(rules: Sequence[Mapping[str, Any]], called: Mapping[int, str]) -> list[dict[str, Any]]:
    """Each rule with its number and its sentence."""
    return [
        {"number": number, "name": rule["name"], "enabled": rule.get("enabled", True), "text": sentence(rule, called)}
        for number, rule in enumerate(rules, 1)
    ]


def difference(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], called: Mapping[int, str]
) -> list[dict[str, str]]:
    """What publishing `new` over `old` changes, rule by rule, as replies.confirm shows it.

    The order is a change of its own: the first rule to name a destination sets its priority.
    """
    before = {rule["name"]: _told(rule, called) for rule in old}
    after = {rule["name"]: _told(rule, called) for rule in new}
    changes = []
    for name in [*before, *(each for each in after if each not in before)]:
        if before.get(name) != after.get(name):
            tag = "added" if name not in before else "removed" if name not in after else "changed"
            changes.append({"label": name, "tag": tag, "before": before.get(name, ""), "after": after.get(name, "")})
    orders = [[name for name in each if name in before and name in after] for each in (before, after)]
    if orders[0] != orders[1]:
        first, then = map(", ".join, orders)
        changes.append({"label": "Order of the rules", "tag": "changed", "before": first, "after": then})
    return changes


def _told(rule: Mapping[str, Any], called: Mapping[int, str]) -> str:
    return sentence(rule, called) + ("" if rule.get("enabled", True) else " (switched off)")


def in_words(problems: Sequence[tuple[str, str]], rules: Sequence[Mapping[str, Any]]) -> list[str]:
    """What rules.validate found, with the names of the rules in place of their paths."""
    words = []
    for path, message in problems:
        found = re.match(r"rules\[(\d+)\]", path)
        named = found is not None and int(found[1]) < len(rules)
        words.append(f"“{rules[int(found[1])].get('name')}”: {message}." if found and named else f"{message}.")
    return words


@require_GET
def room(request: HttpRequest) -> HttpResponse:
    """The draft, rule by rule; how it differs from what is published; the versions; a study to try.

    `?study=` is our number of a study; with `?rules=draft` the draft is asked about it.
    """
    viewer = viewer_of(request)
    require(viewer, "routing.view")
    key = request.GET.get("study", "")
    study = _study(viewer, key) if key.isdecimal() else None
    return _room(request, TryForm(), study, from_draft=request.GET.get("rules") == "draft")


@require_POST
def try_study(request: HttpRequest) -> HttpResponse:
    """Find the study to try: a POST, since its UID stands in no URL."""
    viewer = viewer_of(request)
    require(viewer, "routing.view")
    form = TryForm(request.POST)
    if form.is_valid():
        study = _study(viewer, form.cleaned_data["study"])
        if study is not None:
            return HttpResponseRedirect(f"{PAGE}?study={study.pk}&rules={form.cleaned_data['rules']}#h-try")
        form.add_error("study", "There is no such study, or you may not see it.")
    return _room(request, form, None, from_draft=False)


def _study(viewer: Viewer, key: str) -> Study | None:
    """The study with this number of ours or this Study Instance UID, if the viewer may see it."""
    by = {"pk": int(key)} if key.isdecimal() and len(key) < 19 else {"study_instance_uid": key}
    return studies(viewer).select_related("site").filter(**by).first()


def _room(request: HttpRequest, form: TryForm, study: Study | None, *, from_draft: bool) -> HttpResponse:
    viewer = viewer_of(request)
    rule_set, called = default_set(), names()
    published = rule_set.published
    in_force = published.rules if published else []
    from_draft = from_draft or published is None
    plans = None
    if study is not None:
        about, address = str(study.pk), request.META.get("REMOTE_ADDR")
        record_access(viewer, "studies.view", "study", subject_id=about, address=address)
        plans = explained(study, rule_set.draft if from_draft else in_force, called)
        asked = "draft" if from_draft else "published"
        form = TryForm(initial={"study": study.study_instance_uid, "rules": asked})
    versions = rule_set.versions.select_related("published_by").defer("rules").order_by("-number")
    context = {
        "section": "routing",
        "presence": present(request),
        "heading": "Routing",
        "subtitle": f"version {published.number} is published" if published else "nothing is published yet",
        "rules": said(rule_set.draft, called),
        "stamp": rulesets.stamp_of(rule_set.draft),
        "changes": difference(in_force, rule_set.draft, called),
        "published": published,
        "versions": list(versions[:_VERSIONS]),
        "may_edit": can_everywhere(viewer, "routing.edit"),
        "may_publish": can_everywhere(viewer, "routing.publish"),
        "has_destinations": bool(called),
        "form": form,
        "study": study,
        "plans": plans,
        "asked": "The draft" if from_draft else f"Version {published.number if published else ''}",
    }
    status = 422 if form.is_bound else 200
    return replies.page(request, "routing/rules.html", "routing/_rules.html", context, status=status)


@require_POST
def change(request: HttpRequest, position: int, act: str) -> HttpResponse:
    """Move a rule up or down, or switch it on or off."""
    require_everywhere(viewer_of(request), "routing.edit")
    if act not in ("up", "down", "toggle"):
        raise Http404
    rule_set = default_set()
    rules = list(rule_set.draft)
    if 1 <= position <= len(rules):
        rule = rules.pop(position - 1)
        if act == "toggle":
            rule = {**rule, "enabled": not rule.get("enabled", True)}
        rules.insert(max(0, position - 1 + {"up": -1, "down": 1}.get(act, 0)), rule)
    return _edited(request, rule_set, rules)


@require_http_methods(["GET", "POST"])
def remove(request: HttpRequest, position: int) -> HttpResponse:
    """Take a rule out of the draft, after a look at what it says."""
    require_everywhere(viewer_of(request), "routing.edit")
    rule_set = default_set()
    rules = list(rule_set.draft)
    if request.method == "POST" and "stamp" in request.POST:
        return _edited(request, rule_set, [*rules[: position - 1], *rules[position:]] if position else rules)
    if not 1 <= position <= len(rules):
        raise Http404
    rule = rules[position - 1]
    return replies.confirm(
        request, StampForm(initial={"stamp": rulesets.stamp_of(rules)}), context={"section": "routing"},
        heading=f"Take “{rule['name']}” out of the draft?", submit="Take it out", icon="x", danger=True, back=PAGE,
        sentence=sentence(rule, names()),
        follows=[{"icon": "route", "text": "What is published stays in force until the draft is published."}],
    )  # fmt: skip


def _edited(request: HttpRequest, rule_set: RuleSet, rules: list[dict[str, Any]]) -> HttpResponse:
    """Save the draft that was made of the one on the page. Back to the page, with what came of it."""
    back = reverse("routing")
    try:
        rulesets.edit_draft(rule_set_id=rule_set.pk, rules=rules, stamp=request.POST.get("stamp", ""))
    except rulesets.DraftChanged as error:
        return replies.done(request, str(error), to=back, colour="wait")
    except rulesets.Invalid as error:
        words = " ".join(in_words(error.problems, rules))
        return replies.done(request, f"Nothing was changed. {words}", to=back, colour="wait")
    return replies.done(request, SAVED, to=back)
