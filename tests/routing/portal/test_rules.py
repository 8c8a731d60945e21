"""The routing pages: a draft that is edited and published, and why a study goes where it goes."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from orchestrator.models import Role, Site
from orchestrator.states import Identity
from routing.models import Destination, RuleSet, RuleSetVersion
from routing.services import destinations
from tests.factories import make_order, make_site, make_study, make_user

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>"
SignIn = Callable[..., Client]


@pytest.fixture
def sign_in() -> SignIn:
    def sign_in_(role: Role = Role.PACS_ADMINISTRATOR, site: Site | None = None) -> Client:
        client = Client()
        client.force_login(make_user(role, site=site), backend="django.contrib.auth.backends.ModelBackend")
        return client

    return sign_in_


@pytest.fixture
def archive() -> Destination:
    make_site()
    RuleSet.objects.get_or_create(name="default")
    return destinations.create(name="Archive", ae_title="ARCHIVE", host="127.0.0.1", port=9)


def draft() -> list[dict[str, Any]]:
    return list(RuleSet.objects.get(name="default").draft)


def typed(archive: Destination, *rows: tuple[str, str, str], name: str = "Night CT", **more: str) -> dict[str, str]:
    """The editor's form, as a browser sends it."""
    form = {"name": name, "enabled": "on", "join": "all", "condition-TOTAL_FORMS": str(len(rows) + 1),
            "condition-INITIAL_FORMS": "0", "send-TOTAL_FORMS": "1", "send-INITIAL_FORMS": "0",
            "send-0-destination": str(archive.pk), "send-0-priority": "urgent"}  # fmt: skip
    for number, (field, op, value) in enumerate(rows):
        form |= {f"condition-{number}-field": field, f"condition-{number}-op": op, f"condition-{number}-value": value}
    return {**form, **more}


def stamp_in(page: str) -> str:
    return page.partition('name="stamp" value="')[2].partition('"')[0]


def add(client: Client, archive: Destination, *rows: tuple[str, str, str], **more: str) -> None:
    stamp = stamp_in(client.get("/routing/add/").text)
    answer = client.post("/routing/add/", {**typed(archive, *rows, **more), "stamp": stamp})
    assert answer.status_code == 302, answer.text


def test_a_rule_is_built_row_by_row_and_reads_as_a_sentence(sign_in: SignIn, archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("modality", "in", "CT, MR"), ("time", "between", "18:00, 07:00"), ("weekday", "lt", "6"))
    assert draft() == [
        {
            "name": "Night CT",
            "enabled": True,
            "when": {"all": [
                {"field": "modality", "op": "in", "value": ["CT", "MR"]},
                {"field": "time", "op": "between", "value": ["18:00", "07:00"]},
                {"field": "weekday", "op": "lt", "value": 6},
            ]},
            "then": [{"action": "send", "destination": archive.pk, "priority": "urgent"}],
        }
    ]  # fmt: skip
    page = client.get("/routing/").text
    assert "When modality is one of CT, MR and time of day is between 18:00, 07:00" in page
    assert "send to Archive at urgent priority" in page


def test_one_more_row_keeps_what_was_typed_and_saves_nothing(sign_in: SignIn, archive: Destination) -> None:
    answer = sign_in().post("/routing/add/", typed(archive, ("modality", "eq", "CT"), more="condition"))
    assert answer.status_code == 200
    assert 'name="condition-2-field"' in answer.text
    assert 'value="CT"' in answer.text
    assert draft() == []


def test_what_is_wrong_stands_at_its_row_and_nothing_typed_is_lost(sign_in: SignIn, archive: Destination) -> None:
    client = sign_in()
    for row, said in [
        (("weekday", "eq", "Monday"), "a number is needed"),
        (("time", "between", "soon"), "two times are needed"),
        (("modality", "lt", "CT"), "cannot be asked with"),
    ]:
        answer = client.post("/routing/add/", typed(archive, row))
        assert answer.status_code == 422
        assert said in answer.text
        assert f'value="{row[2]}"' in answer.text
    nowhere = typed(archive, ("modality", "eq", "CT"), **{"send-0-destination": "", "send-0-priority": "normal"})
    assert "at least one action is needed" in client.post("/routing/add/", nowhere).text
    assert draft() == []


def test_a_rule_is_edited_and_an_emptied_row_is_gone(sign_in: SignIn, archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("modality", "eq", "CT"), ("site", "eq", "MAIN"))
    page = client.get("/routing/rules/1/").text
    assert 'value="MAIN"' in page
    form = typed(archive, ("modality", "eq", "CT"), ("", "", ""), stamp=stamp_in(page))
    assert client.post("/routing/rules/1/", form).status_code == 302
    assert draft()[0]["when"] == {"all": [{"field": "modality", "op": "eq", "value": "CT"}]}
    stamp = stamp_in(client.get("/routing/").text)
    same = client.post("/routing/rules/1/", typed(archive, ("modality", "eq", "CT"), stamp=stamp))
    assert same.status_code == 302
    assert len(draft()[0]["when"]["all"]) == 1


def test_a_group_within_the_group_is_shown_and_kept(sign_in: SignIn, archive: Destination) -> None:
    priority = {"field": "priority", "op": "eq", "value": "STAT"}
    nested = {"any": [priority, {"field": "patient_class", "op": "eq", "value": "E"}]}
    send = {"action": "send", "destination": archive.pk}
    RuleSet.objects.update(draft=[{"name": "Urgent", "enabled": True, "when": {"all": [nested]}, "then": [send]}])
    client = sign_in()
    page = client.get("/routing/rules/1/").text
    assert "kept as it is" in page
    client.post("/routing/rules/1/", typed(archive, ("modality", "eq", "CT"), stamp=stamp_in(page)))
    assert draft()[0]["when"] == {"all": [{"field": "modality", "op": "eq", "value": "CT"}, nested]}


def test_who_edits_an_old_draft_overwrites_nobody(sign_in: SignIn, archive: Destination) -> None:
    mara, ines = sign_in(), sign_in()
    old = stamp_in(ines.get("/routing/add/").text)
    add(mara, archive, ("modality", "eq", "CT"), name="Mara's")
    late = ines.post("/routing/add/", typed(archive, ("modality", "eq", "MR"), name="Ines's", stamp=old))
    assert late.status_code == 422
    assert "Somebody changed the draft meanwhile" in late.text
    assert [rule["name"] for rule in draft()] == ["Mara's"]
    late = ines.post("/routing/rules/1/remove/", {"stamp": old}, follow=True)
    assert "Nothing was changed" in late.text


def test_rules_are_moved_switched_off_and_taken_out(sign_in: SignIn, archive: Destination) -> None:
    client = sign_in()
    for name in ("one", "two", "three"):
        add(client, archive, ("modality", "eq", "CT"), name=name)

    def act(position: int, what: str) -> list[str]:
        client.post(f"/routing/rules/{position}/{what}/", {"stamp": stamp_in(client.get("/routing/").text)})
        return [rule["name"] for rule in draft()]

    assert act(3, "up") == ["one", "three", "two"]
    assert act(1, "down") == ["three", "one", "two"]
    assert act(2, "toggle") == ["three", "one", "two"]
    assert draft()[1]["enabled"] is False
    assert act(1, "remove") == ["one", "two"]
    assert client.post("/routing/rules/9/up/").status_code == 404
    assert client.post("/routing/rules/1/burn/").status_code == 404


def test_a_draft_is_published_once_however_often_it_is_clicked(sign_in: SignIn, archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("modality", "eq", "CT"))
    asked = client.get("/routing/publish/").text
    assert "send to Archive" in asked
    assert client.post("/routing/publish/", {"comment": ""}).status_code == 422
    for _ in range(2):
        assert "Version 1 is published." in client.post("/routing/publish/", {"comment": "CT"}, follow=True).text
    assert RuleSetVersion.objects.count() == 1
    assert "Nothing: the draft is what is published." in client.get("/routing/").text


def test_an_older_version_is_looked_at_and_brought_back(sign_in: SignIn, archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("modality", "eq", "CT"), name="first")
    client.post("/routing/publish/", {"comment": "one"})
    add(client, archive, ("modality", "eq", "MR"), name="second")
    client.post("/routing/publish/", {"comment": "two"})
    page = client.get("/routing/versions/1/").text
    assert "first" in page
    assert "second" not in page
    assert "second" in client.get("/routing/versions/1/back/").text, "what would go is shown"
    done = client.post("/routing/versions/1/back/", {"comment": "MR was wrong"}, follow=True)
    assert "in force again, as version 3" in done.text
    assert [rule["name"] for rule in draft()] == ["first"]


def test_a_study_is_tried_and_the_rules_say_why(sign_in: SignIn, archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("modality", "eq", "CT"), ("site", "eq", "NOWHERE"))
    client.post("/routing/publish/", {"comment": "one"})
    order = make_order()
    study = make_study(order, identity=Identity.MATCHED)
    page = client.get("/routing/", {"study": study.study_instance_uid}).text
    assert "modality is CT (it is CT)" in page
    assert "site is NOWHERE (it is MAIN)" in page
    assert "No rule matches" in page
    there = sign_in(site=make_site("SOUTH"))
    assert "There is no such study" in there.get("/routing/", {"study": str(study.pk)}).text


@pytest.mark.parametrize("role", [Role.MANAGER, Role.QA_TECHNOLOGIST])
def test_who_may_only_look_changes_nothing(sign_in: SignIn, archive: Destination, role: Role) -> None:
    client = sign_in(role)
    page = client.get("/routing/").text
    assert "Add a rule" not in page
    for path in ("add/", "rules/1/", "rules/1/remove/", "publish/", "versions/1/back/"):
        assert client.post(f"/routing/{path}").status_code == 403


def test_what_people_typed_is_text(sign_in: SignIn, archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("study_description", "contains", HOSTILE), name=HOSTILE)
    client.post("/routing/publish/", {"comment": HOSTILE})
    for path in ("/routing/", "/routing/rules/1/", "/routing/versions/1/", "/routing/publish/"):
        page = client.get(path).text
        assert HOSTILE not in page
        assert "&lt;script&gt;" in page or "publish" in path
