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

_LOOKED_BACK = 20  # saved states among which the one that a page showed is looked for


class Invalid(Exception):
    """These rules cannot be saved or published: [(path, message)]."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in problems))
        self.problems = problems


class DraftChanged(Exception):
    """Somebody else changed the draft meanwhile; says who."""


def stamp_of(rules: Any) -> str:
    """What a page that edits these rules sends back, so that nobody overwrites what they have not seen."""
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:16]


def _locked(rule_set_id: int) -> RuleSet:
    """The rule set, for this transaction alone.

    `published` is not joined: PostgreSQL gives who waited for the lock the new row of the set, beside the version
    that was joined before the wait. It is read by a statement of its own, after the lock.
    """
    return RuleSet.objects.select_for_update(no_key=True).get(pk=rule_set_id)


def _check_seen(rule_set: RuleSet, stamp: str) -> None:
    """Raise DraftChanged, naming who changed it, unless the draft has this stamp."""
    if stamp_of(rule_set.draft) == stamp:
        return
    people = []
    for row in rule_set.history.order_by("-history_date", "-history_id")[:_LOOKED_BACK]:
        if stamp_of(row.draft) == stamp:
            break
        people.append(row.actor_name or "Somebody")
    else:
        # The state that was seen is not among the last ones: the last to save is known for sure.
        people = people[:1] or ["Somebody"]
    who = " and ".join(dict.fromkeys(reversed(people)))
    raise DraftChanged(f"{who} changed the draft meanwhile: nothing was saved.")


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
    rule_set = _locked(rule_set_id)
    _check_seen(rule_set, stamp)
    save_draft(rule_set=rule_set, rules=rules)


@transaction.atomic
def publish(*, rule_set_id: int, comment: str, user: User, stamp: str | None = None) -> RuleSetVersion:
    """The draft becomes the next version, in force from now on; published already, it stays that.

    With a `stamp` only the draft that had it. Raises Invalid, DraftChanged.
    """
    rule_set = _locked(rule_set_id)
    if stamp is not None:
        _check_seen(rule_set, stamp)
    check(rule_set.draft)
    return _publish(rule_set, rule_set.draft, comment, user, None)


@transaction.atomic
def roll_back(*, rule_set_id: int, number: int, comment: str, user: User, stamp: str | None = None) -> RuleSetVersion:
    """An older version's rules become the next version and the draft; in force already, they stay that.

    With a `stamp` only over the draft that had it. Raises Invalid (e.g. a destination is gone), DraftChanged.
    """
    rule_set = _locked(rule_set_id)
    rules = rule_set.versions.get(number=number).rules
    check(rules)
    published = rule_set.published
    if published is not None and published.rules == rules == rule_set.draft:
        return published  # A second click.
    if stamp is not None:
        _check_seen(rule_set, stamp)
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
