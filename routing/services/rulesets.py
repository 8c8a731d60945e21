"""Rule sets: a draft that is edited, versions that are published and never change."""

import hashlib
import json
from typing import Any

from django.db import transaction
from django.db.models import Max

from orchestrator.models import User
from orchestrator.services.workflow import record
from routing.models import Destination, RuleSet, RuleSetVersion
from routing.rules import validate


class Invalid(Exception):
    """These rules cannot be saved or published: [(path, message)]."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in problems))
        self.problems = problems


class DraftChanged(Exception):
    """Somebody else changed the draft meanwhile."""


def stamp_of(rules: Any) -> str:
    """What a page that edits these rules sends back, so that nobody overwrites what they have not seen."""
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:16]


def check(rules: Any) -> None:
    """Raise Invalid unless these rules can be published."""
    problems = validate(rules, frozenset(Destination.objects.values_list("pk", flat=True)))
    if problems:
        raise Invalid(problems)


@transaction.atomic
def save_draft(*, rule_set: RuleSet, rules: Any) -> None:
    """Replace the draft. Raises Invalid."""
    check(rules)
    rule_set.draft = rules
    rule_set.save(update_fields=["draft"])


@transaction.atomic
def edit_draft(*, rule_set_id: int, rules: Any, stamp: str) -> None:
    """Replace the draft that had this stamp. Raises Invalid, DraftChanged."""
    rule_set = RuleSet.objects.select_for_update(of=("self",)).get(pk=rule_set_id)
    if stamp_of(rule_set.draft) != stamp:
        raise DraftChanged("Somebody changed the draft meanwhile: nothing was saved.")
    save_draft(rule_set=rule_set, rules=rules)


@transaction.atomic
def publish(*, rule_set_id: int, comment: str, user: User) -> RuleSetVersion:
    """The draft becomes the next version, in force from now on; published already, it stays that. Raises Invalid."""
    rule_set = RuleSet.objects.select_related("published").select_for_update(of=("self",)).get(pk=rule_set_id)
    check(rule_set.draft)
    return _publish(rule_set, rule_set.draft, comment, user, None)


@transaction.atomic
def roll_back(*, rule_set_id: int, number: int, comment: str, user: User) -> RuleSetVersion:
    """An older version's rules become the next version. Raises Invalid, e.g. when a destination is gone."""
    rule_set = RuleSet.objects.select_related("published").select_for_update(of=("self",)).get(pk=rule_set_id)
    rules = rule_set.versions.get(number=number).rules
    check(rules)
    rule_set.draft = rules
    return _publish(rule_set, rules, comment, user, number)


def _publish(rule_set: RuleSet, rules: Any, comment: str, user: User, older: int | None) -> RuleSetVersion:
    if not comment.strip():
        raise Invalid([("comment", "say what this version is for")])
    if rule_set.published is not None and rule_set.published.rules == rules:
        # A second click, or nothing new: no version is made of it.
        rule_set.save(update_fields=["draft"])
        return rule_set.published
    latest = rule_set.versions.aggregate(latest=Max("number"))["latest"] or 0
    version = RuleSetVersion.objects.create(
        rule_set=rule_set, number=latest + 1, rules=rules, comment=comment, published_by=user, rolled_back_to=older
    )
    rule_set.published = version
    rule_set.save()
    record("rule_set.published", rule_set, detail={"version": version.number, "rolled_back_to": older})
    return version
