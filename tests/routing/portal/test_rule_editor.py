"""The editor of a rule: rows of conditions, what is refused and where, and two people at one draft."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.forms import parts_of, text_of
from routing.models import Destination, RuleSet
from tests.routing.portal.rule_forms import add, draft, edit, hidden, make_archive, sign_in, stamp_in, typed

pytestmark = pytest.mark.django_db


@pytest.fixture
def archive() -> Destination:
    return make_archive()


def put(when: dict[str, Any], archive: Destination, **more: Any) -> dict[str, Any]:
    """A draft of one rule, as the REST API may have put it there."""
    then = [{"action": "send", "destination": archive.pk}]
    rule = {"name": "Night CT", "enabled": True, "when": when, "then": then, **more}
    RuleSet.objects.update(draft=[rule])
    return rule


def test_a_rule_is_built_row_by_row_and_reads_as_a_sentence(archive: Destination) -> None:
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


def test_a_rule_may_send_to_several_or_keep(archive: Destination) -> None:
    client = sign_in()
    rows = {"send-TOTAL_FORMS": "2", "send-1-destination": str(archive.pk), "send-1-priority": "offpeak"}
    add(client, archive, ("modality", "is_set", ""), join="none", keep="on", **rows)
    assert draft()[0]["when"] == {"none": [{"field": "modality", "op": "is_set"}]}
    assert [each.get("priority") for each in draft()[0]["then"]] == ["urgent", "offpeak", None]
    assert draft()[0]["then"][2] == {"action": "keep"}


def test_one_more_row_keeps_what_was_typed_judges_and_saves_nothing(archive: Destination) -> None:
    form = typed(archive, ("modality", "eq", "CT"), ("weekday", "", "x"), name="", more="condition")
    answer = sign_in().post("/routing/add/", form)
    assert answer.status_code == 200
    assert 'name="condition-3-field"' in answer.text
    assert 'value="CT"' in answer.text
    assert 'value="x"' in answer.text
    assert 'role="alert"' not in answer.text
    assert draft() == []


def test_a_row_less_keeps_the_others(archive: Destination) -> None:
    rows = [("modality", "eq", "CT"), ("site", "eq", "NORTH"), ("station_name", "eq", "CT1")]
    client = sign_in()
    answer = client.post("/routing/add/", typed(archive, *rows, less="condition-1"))
    assert answer.status_code == 200
    assert 'value="CT"' in answer.text
    assert 'value="NORTH"' not in answer.text
    assert 'value="CT1"' in answer.text
    assert 'name="condition-2-field"' in answer.text, "an empty row stays at the end"
    assert 'name="condition-3-field"' not in answer.text
    for nonsense in ("condition-99", "condition-", "send-x", "more-1", ""):
        answer = client.post("/routing/add/", typed(archive, *rows, less=nonsense))
        assert answer.text.count('value="NORTH"') == 1, nonsense


def test_a_destination_less_keeps_the_other_with_its_priority(archive: Destination) -> None:
    rows = {"send-TOTAL_FORMS": "2", "send-1-destination": str(archive.pk), "send-1-priority": "offpeak"}
    answer = sign_in().post("/routing/add/", typed(archive, less="send-0", **rows))
    assert '<option value="offpeak" selected>' in answer.text
    assert '<option value="urgent" selected>' not in answer.text


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("weekday", "eq", "Monday"), "a number is needed"),
        (("weekday", "eq", "--5"), "a number is needed"),
        (("weekday", "eq", "1, 2"), "a number is needed"),
        (("weekday", "eq", "1" * 4999), "a number is needed"),
        (("weekday", "in", "1, x"), "numbers are needed"),
        (("time", "between", "soon"), "two times are needed"),
        (("time", "between", "18:00"), "two times are needed"),
        (("modality", "lt", "CT"), "cannot be asked with"),
        (("modality", "in", " , "), "a list of values is needed"),
        (("modality", "eq", ""), "a value is needed"),
        (("modality", "", "CT"), "Choose an operator."),
        (("", "eq", "CT"), "Choose a field."),
    ],
)
def test_what_is_wrong_stands_at_its_row_and_nothing_typed_is_lost(
    archive: Destination, row: tuple[str, str, str], said: str
) -> None:
    client = sign_in()
    form = typed(archive, row, stamp=stamp_in(client.get("/routing/add/").text))
    answer = client.post("/routing/add/", form)
    assert answer.status_code == 422
    shown = answer.text.partition('id="id_condition-0-')[2].partition('id="id_condition-1-')[0]
    assert said in shown
    assert f'value="{row[2]}"' in shown or not row[2]
    assert 'role="alert"' in answer.text
    assert draft() == []


def test_what_the_whole_draft_refuses_stands_at_its_field(archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("modality", "eq", "CT"), name="Taken")
    stamp = stamp_in(client.get("/routing/add/").text)
    taken = client.post("/routing/add/", typed(archive, name="Taken", stamp=stamp)).text
    assert 'id="id_name_error">another rule has this name' in taken
    nowhere = typed(archive, stamp=stamp, **{"send-0-destination": "", "send-0-priority": "normal"})
    assert "at least one action is needed" in client.post("/routing/add/", nowhere).text.partition('id="h-then"')[2]
    assert "rules[" not in taken
    assert len(draft()) == 1


def test_another_rule_that_is_wrong_is_named(archive: Destination) -> None:
    put({"all": []}, archive, name="Broken", then=[{"action": "send", "destination": archive.pk + 1}])
    client = sign_in()
    form = typed(archive, stamp=stamp_in(client.get("/routing/add/").text))
    answer = client.post("/routing/add/", form)
    assert answer.status_code == 422
    assert "“Broken”: this destination does not exist." in answer.text


def test_a_rule_is_edited_and_an_emptied_row_is_gone(archive: Destination) -> None:
    client = sign_in()
    add(client, archive, ("modality", "eq", "CT"), ("site", "eq", "MAIN"))
    assert 'value="MAIN"' in client.get("/routing/rules/1/").text
    assert edit(client, archive, 1, ("modality", "eq", "CT"), ("", "", "")) == 302
    assert draft()[0]["when"] == {"all": [{"field": "modality", "op": "eq", "value": "CT"}]}
    before = draft()
    assert edit(client, archive, 1, ("modality", "eq", "CT")) == 302
    assert draft() == before
    assert client.get("/routing/rules/2/").status_code == client.get("/routing/rules/0/").status_code == 404


def test_what_the_form_cannot_show_is_said_and_kept(archive: Destination) -> None:
    priority = {"field": "priority", "op": "eq", "value": "STAT"}
    nested = {"any": [priority, {"field": "patient_class", "op": "eq", "value": "E"}]}
    put({"all": [nested]}, archive, note="from the REST API")
    client = sign_in()
    assert "(priority is STAT or patient class is E)</span>" in client.get("/routing/rules/1/").text
    assert edit(client, archive, 1, ("modality", "eq", "CT")) == 302
    assert draft()[0]["when"] == {"all": [{"field": "modality", "op": "eq", "value": "CT"}, nested]}
    assert draft()[0]["note"] == "from the REST API"


def test_a_value_with_a_comma_is_one_value_after_the_editor_too(archive: Destination) -> None:
    condition = {"field": "study_description", "op": "in", "value": ["CT head, native", 'the "old" one', "MR"]}
    put({"all": [condition]}, archive)
    client = sign_in()
    text = '"CT head, native", "the ""old"" one", MR'
    assert text.replace('"', "&quot;") in client.get("/routing/rules/1/").text
    assert edit(client, archive, 1, ("study_description", "in", text)) == 302
    assert draft()[0]["when"] == {"all": [condition]}


@given(st.lists(st.text().map(str.strip).filter(bool)))
def test_any_values_come_back_from_the_field_as_they_went_in(values: list[str]) -> None:
    assert parts_of(text_of(values)) == values


def test_two_who_add_a_rule_lose_nothing(archive: Destination) -> None:
    mara, ines = sign_in(name="mara"), sign_in(name="ines")
    old = stamp_in(ines.get("/routing/add/").text)
    add(mara, archive, ("modality", "eq", "CT"), name="Mara's")
    late = ines.post("/routing/add/", typed(archive, ("modality", "eq", "MR"), name="Ines's", stamp=old))
    assert late.status_code == 422
    assert "mara changed the draft meanwhile: nothing was saved." in late.text
    assert 'value="MR"' in late.text
    assert [rule["name"] for rule in draft()] == ["Mara's"]
    form = typed(archive, ("modality", "eq", "MR"), name="Ines's", stamp=stamp_in(late.text))
    assert ines.post("/routing/add/", form).status_code == 302
    assert [rule["name"] for rule in draft()] == ["Mara's", "Ines's"]


def test_a_rule_that_was_moved_meanwhile_is_saved_where_it_stands_now(archive: Destination) -> None:
    mara, ines = sign_in(name="mara"), sign_in(name="ines")
    for name in ("one", "two"):
        add(mara, archive, ("modality", "eq", "CT"), name=name)
    page = ines.get("/routing/rules/2/").text
    mara.post("/routing/rules/2/up/", {"stamp": stamp_in(page)})
    form = typed(archive, ("modality", "eq", "MR"), name="two", was=hidden(page, "was"))
    late = ines.post("/routing/rules/2/", {**form, "stamp": stamp_in(page)})
    assert late.status_code == 422
    assert 'action="/routing/rules/1/"' in late.text
    assert ines.post("/routing/rules/1/", {**form, "stamp": stamp_in(late.text)}).status_code == 302
    values = [(rule["name"], rule["when"]["all"][0]["value"]) for rule in draft()]
    assert values == [("two", "MR"), ("one", "CT")]


@pytest.mark.parametrize("act", ["edit", "remove"])
def test_a_rule_that_was_changed_or_taken_out_meanwhile_is_not_overwritten(archive: Destination, act: str) -> None:
    mara, ines = sign_in(name="mara"), sign_in(name="ines")
    add(mara, archive, ("modality", "eq", "CT"))
    page = ines.get("/routing/rules/1/").text
    if act == "edit":
        edit(mara, archive, 1, ("modality", "eq", "US"))
    else:
        mara.post("/routing/rules/1/remove/", {"stamp": stamp_in(page)})
    before = draft()
    form = typed(archive, ("modality", "eq", "MR"), was=hidden(page, "was"))
    for stamp in (stamp_in(page), stamp_in(ines.get("/routing/add/").text)):
        late = ines.post("/routing/rules/1/", {**form, "stamp": stamp})
        assert late.status_code == 422
        assert "mara changed the draft" in late.text
        assert "was changed or taken out" in late.text
        assert 'value="MR"' in late.text
    assert draft() == before


def test_a_form_without_a_stamp_saves_nothing(archive: Destination) -> None:
    assert sign_in().post("/routing/add/", typed(archive, ("modality", "eq", "CT"))).status_code == 422
    assert draft() == []


@pytest.mark.parametrize("total", ["", "x", "61", "99999", "²"])
def test_a_form_that_was_tampered_with_is_refused(archive: Destination, total: str) -> None:
    client = sign_in()
    form = typed(archive, stamp=stamp_in(client.get("/routing/add/").text), **{"condition-TOTAL_FORMS": total})
    assert client.post("/routing/add/", form).status_code == 422
    assert client.post("/routing/add/", {**form, "more": "condition"}).status_code == 200
    assert draft() == []
