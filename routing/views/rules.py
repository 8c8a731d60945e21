"""The rules as people read them: a draft that is edited, versions that were published, and why a study goes where."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from orchestrator.audit import record_access
from orchestrator.models import User
from orchestrator.permissions import Viewer, can, require
from orchestrator.selectors import studies
from orchestrator.views import replies, viewer_of
from routing.forms import CommentForm
from routing.models import Destination, RuleSet, RuleSetVersion
from routing.rules import Reason, RuleError, evaluate, sentence
from routing.services import rulesets
from routing.services.route import facts_of

PAGE = "/routing/"
_VERSIONS = 50


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


def difference(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What publishing `new` over `old` changes, rule by rule, as replies.confirm shows it."""
    called = names()
    before = {rule["name"]: _told(rule, called) for rule in old}
    after = {rule["name"]: _told(rule, called) for rule in new}
    changes = [
        {"label": name, "before": before.get(name, ""), "after": after.get(name, "")}
        for name in [*before, *(each for each in after if each not in before)]
        if before.get(name) != after.get(name)
    ]
    if not changes and [rule["name"] for rule in old] != [rule["name"] for rule in new]:
        changes.append({"label": "Order", "before": ", ".join(before), "after": ", ".join(after)})
    return changes


def _told(rule: Mapping[str, Any], called: Mapping[int, str]) -> str:
    return sentence(rule, called) + ("" if rule.get("enabled", True) else " (switched off)")


@require_GET
def room(request: HttpRequest) -> HttpResponse:
    """The draft, rule by rule; how it differs from what is published; the versions; a study to try."""
    viewer = viewer_of(request)
    require(viewer, "routing.view")
    rule_set, called = default_set(), names()
    published = rule_set.published
    context = {
        "section": "routing",
        "heading": "Routing",
        "subtitle": f"version {published.number} is published" if published else "nothing is published yet",
        "rules": said(rule_set.draft, called),
        "stamp": rulesets.stamp_of(rule_set.draft),
        "changes": difference(published.rules if published else [], rule_set.draft),
        "published": published,
        "versions": list(rule_set.versions.select_related("published_by").order_by("-number")[:_VERSIONS]),
        "may_edit": can(viewer, "routing.edit"),
        "may_publish": can(viewer, "routing.publish"),
        "has_destinations": bool(called),
        "study": request.GET.get("study", ""),
        "tried": _tried(viewer, request, published),
    }
    return replies.page(request, "routing/rules.html", "routing/_rules.html", context)


def _tried(viewer: Viewer, request: HttpRequest, version: RuleSetVersion | None) -> dict[str, Any] | None:
    """Where the published rules send the study of `?study=` (our id or its UID), and why."""
    asked = request.GET.get("study", "").strip()
    if not asked or version is None:
        return None
    key = {"pk": int(asked)} if asked.isdecimal() and len(asked) < 19 else {"study_instance_uid": asked}
    study = studies(viewer).select_related("site").filter(**key).first()
    if study is None:
        return {"study": None}
    record_access(viewer, "studies.view", "study", subject_id=str(study.pk), address=request.META.get("REMOTE_ADDR"))
    called, plans = names(), []
    for claim in study.claims.select_related("order__visit", "procedure").order_by("pk"):
        try:
            plan = evaluate(version.rules, facts_of(study, claim))
        except RuleError as error:
            return {"study": study, "error": str(error)}
        sends = [
            f"{called.get(each.destination, 'a destination that is gone')}, {each.priority} priority, by {each.rule}"
            for each in plan.sends
        ]
        whys = [{"name": name, "nodes": _nodes(reason, 0)} for name, reason in plan.reasons.items()]
        plans.append({"sends": sends, "keep": plan.keep, "whys": whys})
    return {"study": study, "plans": plans}


def _nodes(reason: Reason, depth: int) -> list[dict[str, Any]]:
    """The explanation line by line, each with its depth (0 to 3)."""
    text = {"all": "all of:", "any": "any of:", "none": "none of:"}.get(reason.text, reason.text)
    here = {"text": text, "passed": reason.passed, "depth": min(depth, 3)}
    return [here, *(node for child in reason.children for node in _nodes(child, depth + 1))]


@require_POST
def change(request: HttpRequest, position: int, act: str) -> HttpResponse:
    """Move a rule up or down, switch it on or off, or take it out of the draft."""
    require(viewer_of(request), "routing.edit")
    rule_set = default_set()
    rules = list(rule_set.draft)
    if not 1 <= position <= len(rules) or act not in ("up", "down", "toggle", "remove"):
        raise Http404
    rule = rules.pop(position - 1)
    if act == "toggle":
        rule = {**rule, "enabled": not rule.get("enabled", True)}
    if act != "remove":
        to = position - 1 + {"up": -1, "down": 1}.get(act, 0)
        rules.insert(max(0, to), rule)
    try:
        rulesets.edit_draft(rule_set_id=rule_set.pk, rules=rules, stamp=request.POST.get("stamp", ""))
    except (rulesets.DraftChanged, rulesets.Invalid) as error:
        return replies.done(request, f"Nothing was changed: {error}", to=PAGE, colour="wait")
    return replies.done(request, "The draft is saved; nothing is routed by it until it is published.", to=PAGE)


@require_http_methods(["GET", "POST"])
def publish(request: HttpRequest) -> HttpResponse:
    """The draft becomes the next version."""
    viewer = viewer_of(request)
    require(viewer, "routing.publish")
    rule_set = default_set()
    changes = difference(rule_set.published.rules if rule_set.published else [], rule_set.draft)
    form = CommentForm(request.POST or None)
    if form.is_valid():
        user = User.objects.get(pk=viewer.user_id)
        try:
            version = rulesets.publish(rule_set_id=rule_set.pk, comment=form.cleaned_data["comment"], user=user)
        except rulesets.Invalid as error:
            return replies.done(request, f"Nothing was published: {error}", to=PAGE, colour="wait")
        return replies.done(request, f"Version {version.number} is published.", to=PAGE)
    return replies.confirm(
        request, form, heading="Publish the draft?", submit="Publish", icon="check", back=PAGE, changes=changes,
        follows=[
            {"icon": "route", "text": "Every study that is matched from now on is routed by it."},
            {"icon": "send", "text": "Deliveries on their way keep the version they were made by."},
            {"icon": "undo", "text": "Any older version can be brought back."},
        ],
    )  # fmt: skip


@require_GET
def version_page(request: HttpRequest, number: int) -> HttpResponse:
    """One published version, as it was."""
    viewer = viewer_of(request)
    require(viewer, "routing.view")
    rule_set = default_set()
    version = get_object_or_404(rule_set.versions.select_related("published_by"), number=number)
    context = {
        "section": "routing",
        "heading": f"Routing, version {number}",
        "version": version,
        "rules": said(version.rules, names()),
        "in_force": rule_set.published == version,
        "may_publish": can(viewer, "routing.publish"),
    }
    return replies.page(request, "routing/version.html", "routing/_version.html", context)


@require_http_methods(["GET", "POST"])
def roll_back(request: HttpRequest, number: int) -> HttpResponse:
    """An older version's rules are in force again, as the next version."""
    viewer = viewer_of(request)
    require(viewer, "routing.publish")
    rule_set = default_set()
    version = get_object_or_404(rule_set.versions, number=number)
    form = CommentForm(request.POST or None)
    if form.is_valid():
        user = User.objects.get(pk=viewer.user_id)
        try:
            made = rulesets.roll_back(
                rule_set_id=rule_set.pk, number=number, comment=form.cleaned_data["comment"], user=user
            )
        except rulesets.Invalid as error:
            return replies.done(request, f"Nothing was published: {error}", to=PAGE, colour="wait")
        return replies.done(request, f"Version {number} is in force again, as version {made.number}.", to=PAGE)
    changes = difference(rule_set.published.rules if rule_set.published else [], version.rules)
    return replies.confirm(
        request, form, heading=f"Back to version {number}?", submit="Bring it back", icon="undo",
        back=reverse("rule-set-version", args=[number]), changes=changes,
        follows=[{"icon": "warn", "text": "The draft is replaced by these rules too."}],
    )  # fmt: skip
