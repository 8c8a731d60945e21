"""The pages of rules in a real browser: readable by all, a rule built, published and tried without a reload by hand."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from orchestrator.models import User
from routing.models import Destination, RuleSet, RuleSetVersion
from routing.services import destinations, rulesets
from tests.accessibility import violations_in_both_themes
from tests.factories import make_order, make_study
from tests.routing.portal.rule_forms import draft, make_archive

pytestmark = pytest.mark.peer("chromium")

Open = Callable[..., Page]


@pytest.fixture
def archive(transactional_db: None) -> Destination:
    return make_archive()


@pytest.fixture
def published(archive: Destination, mara: User) -> RuleSetVersion:
    """A published rule, and a draft that has one more, with a group in its group."""
    night = destinations.create(name="Night reading", ae_title="NIGHT", host="127.0.0.1", port=10)
    rule_set = RuleSet.objects.get(name="default")
    ct = {"field": "modality", "op": "in", "value": ["CT", "MR"]}
    urgent = {"any": [{"field": "priority", "op": "eq", "value": "STAT"}, {"none": [ct]}]}
    rules: list[dict[str, Any]] = [
        {"name": "CT to the archive", "enabled": True, "when": {"all": [ct]},
         "then": [{"action": "send", "destination": archive.pk, "priority": "normal"}]},
        {"name": "Urgent at night", "enabled": False, "when": {"all": [ct, urgent]},
         "then": [{"action": "send", "destination": night.pk, "priority": "urgent"}, {"action": "keep"}]},
    ]  # fmt: skip
    rulesets.save_draft(rule_set=rule_set, rules=rules[:1])
    version = rulesets.publish(rule_set_id=rule_set.pk, comment="The first rule", user=mara)
    rule_set.refresh_from_db()
    rulesets.save_draft(rule_set=rule_set, rules=rules)
    return version


@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_breaks_an_accessibility_rule_or_scrolls_sideways(
    open_page: Open, published: RuleSetVersion, width: int
) -> None:
    study = make_study(make_order())
    page = open_page(f"/routing/?study={study.pk}", width=width)
    for path in ("", "/routing/rules/2/", "/routing/rules/2/remove/", "/routing/versions/1/", "/routing/publish/"):
        if path:
            page.goto(path)
        assert violations_in_both_themes(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    page.goto("/routing/add/")
    page.get_by_role("button", name="Save in the draft").last.click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was saved")
    assert violations_in_both_themes(page) == []


def test_a_rule_is_built_with_rows_more_and_less_and_published_by_a_dialog(
    open_page: Open, archive: Destination
) -> None:
    page = open_page("/routing/add/")
    page.evaluate("window.stayed = true")
    page.get_by_label("Name").fill("Night CT")
    for row, (field, op, value) in enumerate([("modality", "eq", "XX"), ("modality", "in", "CT, MR")]):
        page.locator(f"[name=condition-{row}-field]").select_option(field)
        page.locator(f"[name=condition-{row}-op]").select_option(op)
        page.locator(f"[name=condition-{row}-value]").fill(value)
        if not row:
            page.get_by_role("button", name="One more condition").click()
            expect(page.locator("[name=condition-1-field]")).to_be_focused()
    page.get_by_role("button", name="Remove condition 1").click()
    expect(page.locator("[name=condition-0-value]")).to_have_value("CT, MR")
    expect(page.locator("[name=condition-2-field]")).to_have_count(0)
    page.locator("[name=send-0-destination]").select_option(label="Archive")
    assert page.evaluate("window.stayed") is True
    page.get_by_label("Name").press("Enter")
    expect(page.locator("#rules")).to_contain_text("When modality is one of CT, MR, send to Archive")
    page.keyboard.press("p")
    dialog = page.locator("#dialog[open]")
    expect(dialog).to_contain_text("send to Archive at normal priority")
    dialog.get_by_role("button", name="Publish").click()
    expect(dialog.get_by_role("alert")).to_be_visible()
    dialog.get_by_label("Why").fill("CT goes to the archive")
    dialog.get_by_role("button", name="Publish").click()
    expect(page.locator("#rules")).to_contain_text("CT goes to the archive")
    assert RuleSetVersion.objects.count() == 1


def test_a_field_that_was_emptied_stays_empty_when_it_is_refused(open_page: Open, published: RuleSetVersion) -> None:
    page = open_page("/routing/rules/1/")
    page.get_by_label("Name").fill("")
    page.get_by_role("button", name="Save in the draft").last.click()
    expect(page.get_by_text("A name is needed.")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("")


def test_a_dialogs_field_that_was_emptied_stays_empty_too(open_page: Open, archive: Destination) -> None:
    page = open_page(f"/destinations/{archive.pk}/")
    page.get_by_role("link", name="Change…").click()
    dialog = page.locator("#dialog[open]")
    dialog.get_by_label("Host").fill("")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_be_visible()
    expect(dialog.get_by_label("Host")).to_have_value("")


def test_all_of_it_works_without_scripts(open_page: Open, published: RuleSetVersion) -> None:
    page = open_page("/routing/rules/1/", script=False)
    page.get_by_role("button", name="One more condition").click()
    expect(page.locator("[name=condition-2-field]")).to_have_count(1)
    page.get_by_role("button", name="Remove condition 1").click()
    page.get_by_role("button", name="Save in the draft").last.click()
    expect(page.locator("#rules")).to_contain_text("When any study comes, send to Archive")
    page.get_by_role("link", name="Take out… Urgent at night").click()
    page.get_by_role("button", name="Take it out").click()
    expect(page.locator("#rules")).not_to_contain_text("Night reading at urgent")
    assert [rule["name"] for rule in draft()] == ["CT to the archive"]
    study = make_study(make_order())
    page.get_by_label("Study Instance UID").fill(study.study_instance_uid)
    page.get_by_label("Ask").select_option("draft")
    page.get_by_role("button", name="Why and where").click()
    expect(page.locator("#rules")).to_contain_text("The draft sends it to")
    assert study.study_instance_uid not in page.url
