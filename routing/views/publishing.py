"""What puts rules into force: publishing the draft, looking at a version, bringing one back."""

from collections.abc import Callable, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from orchestrator.models import User
from orchestrator.permissions import can_everywhere, require, require_everywhere
from orchestrator.views import replies, viewer_of
from routing.forms import StampedCommentForm
from routing.models import RuleSet, RuleSetVersion
from routing.services import rulesets

from .rules import PAGE, default_set, difference, in_words, names, said

_FOLLOWS = (
    {"icon": "route", "text": "Every study that is matched from now on is routed by it."},
    {"icon": "inbox", "text": "Studies that stayed here because no rule matched are asked again."},
    {"icon": "send", "text": "Deliveries on their way keep the version they were made by."},
)


@require_http_methods(["GET", "POST"])
def publish(request: HttpRequest) -> HttpResponse:
    """The draft becomes the next version."""
    require_everywhere(viewer_of(request), "routing.publish")
    rule_set = default_set()

    def done(comment: str, user: User, stamp: str) -> str:
        made = rulesets.publish(rule_set_id=rule_set.pk, comment=comment, user=user, stamp=stamp)
        return f"Version {made.number} is published."

    return _confirmed(
        request, rule_set, rule_set.draft, done, heading="Publish the draft?", submit="Publish", icon="check",
        back=PAGE, follows=[*_FOLLOWS, {"icon": "undo", "text": "Any older version can be brought back."}],
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
        "may_publish": can_everywhere(viewer, "routing.publish"),
    }
    return replies.page(request, "routing/version.html", "routing/_version.html", context)


@require_http_methods(["GET", "POST"])
def roll_back(request: HttpRequest, number: int) -> HttpResponse:
    """An older version's rules are in force again, as the next version."""
    require_everywhere(viewer_of(request), "routing.publish")
    rule_set = default_set()
    version: RuleSetVersion = get_object_or_404(rule_set.versions, number=number)

    def done(comment: str, user: User, stamp: str) -> str:
        made = rulesets.roll_back(rule_set_id=rule_set.pk, number=number, comment=comment, user=user, stamp=stamp)
        return f"The rules of version {number} are in force, as version {made.number}."

    lost = rule_set.published is None or rule_set.draft != rule_set.published.rules
    return _confirmed(
        request, rule_set, version.rules, done, heading=f"Back to version {number}?", submit="Bring it back",
        icon="undo", back=reverse("rule-set-version", args=[number]),
        follows=[*_FOLLOWS, *[{"icon": "warn", "text": "What the draft says otherwise is lost."}] * lost],
    )  # fmt: skip


def _confirmed(
    request: HttpRequest, rule_set: RuleSet, rules: Sequence[Any], done: Callable[[str, User, str], str], **how: Any
) -> HttpResponse:
    """Show what these rules change; with a comment do it, unless the draft is no longer the one that was shown."""
    stamp = rulesets.stamp_of(rule_set.draft)
    form = StampedCommentForm(request.POST or None, initial={"stamp": stamp})
    if form.is_valid():
        user = User.objects.get(pk=viewer_of(request).user_id)
        try:
            return replies.done(request, done(form.cleaned_data["comment"], user, form.cleaned_data["stamp"]), to=PAGE)
        except rulesets.DraftChanged as error:
            # What the dialog shows now is the draft as it is; who confirms it again has seen it.
            form = StampedCommentForm({**request.POST.dict(), "stamp": stamp})
            form.add_error(None, f"{error} Below is what would change now.")
        except rulesets.Invalid as error:
            for words in in_words(error.problems, rules):
                form.add_error(None, words)
    in_force = rule_set.published.rules if rule_set.published else []
    changes = difference(in_force, rules, names())
    sentence = "" if changes else "These are the rules that are in force already."
    return replies.confirm(
        request, form, changes=changes, sentence=sentence, context={"section": "routing"}, **how
    )  # fmt: skip
