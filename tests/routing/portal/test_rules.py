"""The routing page: a draft that is edited and published, versions that come back, why a study goes where it goes."""

import pytest
from pytest_django import DjangoAssertNumQueries

from orchestrator.models import IdentityClaim, Role
from orchestrator.states import Identity
from routing.models import Destination, RuleSet, RuleSetVersion
from tests.factories import make_order, make_site, make_study
from tests.routing.portal.rule_forms import add, draft, edit, make_archive, publish, sign_in, stamp_in, typed

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def archive() -> Destination:
    return make_archive()


def test_rules_are_moved_switched_off_and_on(archive: Destination) -> None:
    client = sign_in()
    for name in ("one", "two", "three"):
        add(client, archive, ("modality", "eq", "CT"), name=name)

    def act(position: int, what: str) -> list[str]:
        client.post(f"/routing/rules/{position}/{what}/", {"stamp": stamp_in(client.get("/routing/").text)})
        return [rule["name"] for rule in draft()]

    assert act(3, "up") == ["one", "three", "two"]
    assert act(1, "down") == ["three", "one", "two"]
    assert act(1, "up") == ["three", "one", "two"]
    assert act(2, "toggle") == ["three", "one", "two"]
    assert [rule["enabled"] for rule in draft()] == [True, False, True]
    act(2, "toggle")
    assert [rule["enabled"] for rule in draft()] == [True, True, True]
    assert client.post("/routing/rules/1/burn/").status_code == 404


def test_a_rule_is_taken_out_after_a_look_at_it(archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("modality", "eq", "CT"), name="one")
    add(client, archive, ("modality", "eq", "MR"), name="two")
    asked = client.get("/routing/rules/1/remove/").text
    assert "When modality is CT" in asked
    assert len(draft()) == 2
    client.post("/routing/rules/1/remove/", {"stamp": stamp_in(asked)})
    assert [rule["name"] for rule in draft()] == ["two"]
    again = client.post("/routing/rules/1/remove/", {"stamp": stamp_in(asked)}, follow=True)
    assert "nothing was saved" in again.text, "a second click takes no second rule"
    assert [rule["name"] for rule in draft()] == ["two"]
    assert client.get("/routing/rules/9/remove/").status_code == 404


@pytest.mark.parametrize("act", ["up", "toggle", "remove"])
def test_who_acts_on_an_old_draft_changes_nothing_and_learns_who_was_there(archive: Destination, act: str) -> None:
    mara, ines = sign_in(name="mara"), sign_in(name="ines")
    add(mara, archive, ("modality", "eq", "CT"), name="one")
    add(mara, archive, ("modality", "eq", "CT"), name="two")
    old = stamp_in(ines.get("/routing/").text)
    edit(mara, archive, 2, ("modality", "eq", "MR"), name="two")
    before = draft()
    told = ines.post(f"/routing/rules/2/{act}/", {"stamp": old}, follow=True).text
    assert "mara changed the draft meanwhile: nothing was saved." in told
    assert draft() == before


def test_a_draft_is_published_once_however_often_it_is_clicked(archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("modality", "eq", "CT"))
    asked = client.get("/routing/publish/").text
    assert "send to Archive" in asked
    refused = client.post("/routing/publish/", {"comment": " ", "stamp": stamp_in(asked)})
    assert refused.status_code == 422
    for _ in range(2):
        form = {"comment": "CT", "stamp": stamp_in(asked)}
        assert "Version 1 is published." in client.post("/routing/publish/", form, follow=True).text
    assert RuleSetVersion.objects.count() == 1
    assert "Nothing: the draft is what is published." in client.get("/routing/").text
    assert "in force already" in client.get("/routing/publish/").text


def test_nobody_publishes_a_draft_that_they_have_not_seen(archive: Destination) -> None:
    mara, ines = sign_in(name="mara"), sign_in(name="ines")
    add(mara, archive, ("modality", "eq", "CT"), name="one")
    old = stamp_in(ines.get("/routing/publish/").text)
    add(mara, archive, ("modality", "eq", "MR"), name="unseen")
    refused = ines.post("/routing/publish/", {"comment": "Only one", "stamp": old})
    assert refused.status_code == 422
    for words in ("mara changed the draft meanwhile", "unseen", "Only one"):
        assert words in refused.text
    assert not RuleSetVersion.objects.exists()
    ines.post("/routing/publish/", {"comment": "Both", "stamp": stamp_in(refused.text)})
    assert RuleSetVersion.objects.count() == 1, "who has seen it now may publish it"
    assert ines.post("/routing/publish/", {"comment": "no stamp"}).status_code == 422


def test_a_comment_sent_again_later_does_not_undo_a_roll_back(archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("modality", "eq", "CT"), name="first")
    publish(client, "one")
    add(client, archive, ("modality", "eq", "MR"), name="second")
    stamp = stamp_in(client.get("/routing/publish/").text)
    client.post("/routing/publish/", {"comment": "two", "stamp": stamp})
    back = {"comment": "back", "stamp": stamp_in(client.get("/routing/versions/1/back/").text)}
    for _ in range(2):
        assert client.post("/routing/versions/1/back/", back).status_code == 302
    assert client.post("/routing/publish/", {"comment": "two", "stamp": stamp}).status_code == 422
    assert list(RuleSetVersion.objects.order_by("number").values_list("number", "rolled_back_to")) == [
        (1, None), (2, None), (3, 1)
    ]  # fmt: skip


def test_the_difference_names_what_is_added_removed_changed_and_moved(archive: Destination) -> None:
    client = sign_in()
    for name in ("stays", "moves", "changes", "goes"):
        add(client, archive, ("modality", "eq", "CT"), name=name)
    publish(client, "one")
    client.post("/routing/rules/2/up/", {"stamp": stamp_in(client.get("/routing/").text)})
    edit(client, archive, 3, ("modality", "eq", "MR"), name="changes")
    client.post("/routing/rules/4/remove/", {"stamp": stamp_in(client.get("/routing/").text)})
    add(client, archive, ("modality", "eq", "US"), name="new")
    page = client.get("/routing/publish/").text
    for tag, number in {"added": 1, "removed": 1, "changed": 2}.items():
        assert page.count(f'<span class="mono sub">{tag}</span>') == number, tag
    assert "stays, moves, changes" in page
    assert "moves, stays, changes" in page
    assert "modality is US" in page


def test_what_cannot_be_published_says_which_rule_and_why(archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("modality", "eq", "CT"), name="Night CT")
    rules = draft()
    rules[0]["then"][0]["destination"] = archive.pk + 1
    RuleSet.objects.update(draft=rules)
    stamp = stamp_in(client.get("/routing/publish/").text)
    refused = client.post("/routing/publish/", {"comment": "one", "stamp": stamp})
    assert refused.status_code == 422
    assert "“Night CT”: this destination does not exist." in refused.text
    assert "a destination that is gone" in client.get("/routing/").text


def test_an_older_version_is_looked_at_and_brought_back(archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("modality", "eq", "CT"), name="first")
    publish(client, "one")
    add(client, archive, ("modality", "eq", "MR"), name="second")
    publish(client, "two")
    page = client.get("/routing/versions/1/").text
    assert "first" in page
    assert "second" not in page
    asked = client.get("/routing/versions/1/back/").text
    assert "second" in asked, "what would go is shown"
    assert "is lost" not in asked, "the draft is what is published: nothing would be lost"
    form = {"comment": "MR was wrong", "stamp": stamp_in(asked)}
    done = client.post("/routing/versions/1/back/", form, follow=True)
    assert "The rules of version 1 are in force, as version 3." in done.text
    assert [rule["name"] for rule in draft()] == ["first"]
    add(client, archive, ("modality", "eq", "US"), name="third")
    assert "What the draft says otherwise is lost" in client.get("/routing/versions/2/back/").text
    assert client.get("/routing/versions/9/").status_code == client.get("/routing/versions/9/back/").status_code == 404


def test_a_study_is_tried_and_the_rules_say_why(archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("modality", "eq", "CT"), ("site", "eq", "NOWHERE"))
    publish(client, "one")
    study = make_study(make_order(), identity=Identity.MATCHED)
    found = client.post("/routing/try/", {"study": study.study_instance_uid, "rules": "published"})
    assert study.study_instance_uid not in found.headers["Location"], "what names a study stands in no URL"
    page = client.get(found.headers["Location"].partition("#")[0]).text
    for words in ("modality is CT (it is CT)", "site is NOWHERE (it is MAIN)", "Version 1 has no rule that matches"):
        assert words in page
    assert "once these images are matched" not in page


def test_the_draft_is_tried_before_it_is_published(archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("modality", "eq", "CT"))
    study = make_study(make_order())
    assert "The draft sends it to" in client.get("/routing/", {"study": study.pk}).text, "nothing else is there"
    publish(client, "one")
    edit(client, archive, 1, ("modality", "eq", "MR"))
    assert (
        "The draft has no rule that matches" in client.get("/routing/", {"study": str(study.pk), "rules": "draft"}).text
    )
    page = client.get("/routing/", {"study": study.pk}).text
    assert "Version 1 sends it to" in page
    assert "Rules are asked once these images are matched" in page
    IdentityClaim.objects.update(modality="")
    assert "modality is CT (it is empty)" in client.get("/routing/", {"study": study.pk}).text


@pytest.mark.parametrize("asked", ["2.25.404", "999999", "9" * 64, "  ", HOSTILE, "٣"])
def test_a_study_that_is_not_there_is_not_told_from_one_that_may_not_be_seen(archive: Destination, asked: str) -> None:
    study = make_study(make_order())
    south = sign_in(site=make_site("SOUTH"))
    for client, text in ((sign_in(), asked), (south, str(study.pk)), (south, study.study_instance_uid)):
        answer = client.post("/routing/try/", {"study": text, "rules": "draft"})
        assert answer.status_code == 422
        assert ("There is no such study" in answer.text) == bool(text.strip())
        assert HOSTILE not in answer.text
    assert "modality" not in south.get("/routing/", {"study": study.pk}).text


@pytest.mark.parametrize("role", [Role.MANAGER, Role.QA_TECHNOLOGIST])
def test_who_may_only_look_changes_nothing(archive: Destination, role: Role) -> None:
    add(sign_in(), archive, ("modality", "eq", "CT"))
    publish(sign_in(), "one")
    before = draft()
    client = sign_in(role)
    page = client.get("/routing/").text
    assert "When modality is CT" in page
    for words in ("Add a rule", "Take out", "Switch off", "Publish…"):
        assert words not in page
    assert "Back to this" not in client.get("/routing/versions/1/").text
    for path in ("add/", "rules/1/", "rules/1/up/", "rules/1/remove/", "publish/", "versions/1/back/"):
        assert client.post(f"/routing/{path}", typed(archive)).status_code == 403
    assert draft() == before


@pytest.mark.parametrize("role", [Role.READER, Role.AUDITOR])
def test_who_has_nothing_to_do_with_routing_sees_none_of_it(archive: Destination, role: Role) -> None:
    client = sign_in(role)
    assert client.get("/routing/").status_code == 403
    assert client.post("/routing/try/", {"study": "1"}).status_code == 403


def test_what_people_typed_is_text(archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("study_description", "contains", HOSTILE), name=HOSTILE)
    shown = [client.get("/routing/publish/").text]
    publish(client, HOSTILE)
    paths = ("", "rules/1/", "rules/1/remove/", "versions/1/")
    shown += [client.get(f"/routing/{path}").text for path in paths]
    for page in shown:
        assert HOSTILE not in page
        assert "&lt;script&gt;" in page


def test_more_rules_and_versions_need_no_more_queries(
    archive: Destination, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client = sign_in()
    study = make_study(make_order())
    send = {"destination": str(archive.pk), "priority": "normal"}
    pages = {"": 12, f"?study={study.pk}": 16, "rules/1/": 11, "versions/1/": 9, "publish/": 8}
    for names in (["first"], ["second", "third", "fourth"]):
        for name in names:
            add(client, archive, ("modality", "eq", "CT"), name=name)
            publish(client, name)
        sends = {f"send-{row}-{name}": value for row in range(len(names)) for name, value in send.items()}
        edit(client, archive, 1, **{**sends, "send-TOTAL_FORMS": str(len(names))}, name="first")
        publish(client, "more destinations")
        for path, queries in pages.items():
            client.get("/routing/")
            with django_assert_num_queries(queries):
                client.get(f"/routing/{path}")
