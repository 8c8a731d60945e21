"""Rule sets: a draft, versions that never change, and what cannot be published."""

import threading
from typing import Any

import pytest
from django.db import OperationalError, connections

from orchestrator.models import WorkflowEvent
from routing.models import RuleSet, RuleSetVersion
from routing.services import rulesets
from tests.factories import make_site, make_user
from tests.routing.ward import destination, send_rule

pytestmark = pytest.mark.django_db


def default() -> RuleSet:
    return RuleSet.objects.get_or_create(name="default")[0]


def test_a_draft_is_not_in_force_until_it_is_published_with_a_comment() -> None:
    rule_set, user, rules = default(), make_user(), [send_rule(destination())]
    rulesets.save_draft(rule_set=rule_set, rules=rules)
    assert default().published is None
    with pytest.raises(rulesets.Invalid) as raised:
        rulesets.publish(rule_set_id=rule_set.pk, comment="  ", user=user)
    assert raised.value.problems == [("comment", "say what this version is for")]
    version = rulesets.publish(rule_set_id=rule_set.pk, comment="first", user=user)
    assert (version.number, version.rules, version.comment, version.published_by) == (1, rules, "first", user)
    assert default().published == version
    event = WorkflowEvent.objects.get(name="rule_set.published")
    assert event.detail == {"version": 1, "rolled_back_to": None}


def test_a_published_version_stays_what_it_was() -> None:
    rule_set, user, archive = default(), make_user(), destination()
    first, second = [send_rule(archive, name="first")], [send_rule(archive, name="second")]
    for rules in (first, second):
        rulesets.save_draft(rule_set=rule_set, rules=rules)
        rulesets.publish(rule_set_id=rule_set.pk, comment="why", user=user)
    rulesets.save_draft(rule_set=rule_set, rules=[])
    assert list(rule_set.versions.order_by("number").values_list("number", "rules")) == [(1, first), (2, second)]
    published = default().published
    assert published is not None
    assert published.number == 2


def test_an_older_version_comes_back_as_the_next_one() -> None:
    rule_set, user, archive = default(), make_user(), destination()
    first, second = [send_rule(archive, name="first")], [send_rule(archive, name="second")]
    for rules in (first, second):
        rulesets.save_draft(rule_set=rule_set, rules=rules)
        rulesets.publish(rule_set_id=rule_set.pk, comment="why", user=user)
    version = rulesets.roll_back(rule_set_id=rule_set.pk, number=1, comment="second was wrong", user=user)
    assert (version.number, version.rules, version.rolled_back_to) == (3, first, 1)
    assert default().published == version
    assert default().draft == first
    with pytest.raises(RuleSetVersion.DoesNotExist):
        rulesets.roll_back(rule_set_id=rule_set.pk, number=9, comment="?", user=user)


def test_what_names_a_destination_that_is_gone_is_neither_published_nor_brought_back() -> None:
    rule_set, user, archive = default(), make_user(), destination()
    rulesets.save_draft(rule_set=rule_set, rules=[send_rule(archive)])
    rulesets.publish(rule_set_id=rule_set.pk, comment="why", user=user)
    archive.delete()
    with pytest.raises(rulesets.Invalid) as raised:
        rulesets.publish(rule_set_id=rule_set.pk, comment="again", user=user)
    assert [path for path, _ in raised.value.problems] == ["rules[0].then[0].destination"]
    with pytest.raises(rulesets.Invalid):
        rulesets.roll_back(rule_set_id=rule_set.pk, number=1, comment="again", user=user)
    assert rule_set.versions.count() == 1


def test_a_draft_that_cannot_be_published_is_not_saved() -> None:
    rule_set = default()
    wrong: Any = [{"name": "", "when": {}, "then": []}]
    with pytest.raises(rulesets.Invalid) as raised:
        rulesets.save_draft(rule_set=rule_set, rules=wrong)
    assert [path for path, _ in raised.value.problems] == ["rules[0].name", "rules[0].when", "rules[0].then"]
    assert default().draft == []


@pytest.mark.django_db(transaction=True)
def test_two_people_who_publish_one_draft_at_once_make_one_version() -> None:
    make_site()
    rule_set, user = default(), make_user()
    both, refused = threading.Barrier(2), []

    def publish() -> None:
        both.wait(10)
        try:
            rulesets.publish(rule_set_id=rule_set.pk, comment="mine", user=user)
        except OperationalError as error:
            refused.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=publish) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    numbers = sorted(rule_set.versions.values_list("number", flat=True))
    # The second waits and finds it published already, or is refused by a database that locks whole files.
    assert numbers == [1]
    assert len(refused) < 2
    published = default().published
    assert published is not None
    assert published.number == numbers[-1]


def test_a_published_version_cannot_be_saved_again() -> None:
    rule_set = default()
    rulesets.save_draft(rule_set=rule_set, rules=[send_rule(destination())])
    version = rulesets.publish(rule_set_id=rule_set.pk, comment="first", user=make_user())
    version.comment = "something else"
    with pytest.raises(TypeError, match="never changes"):
        version.save()
    assert RuleSetVersion.objects.get().comment == "first"
