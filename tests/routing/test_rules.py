"""Rules as pure functions: what matches, what is said of it, and what may be published."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.rules import FIELDS, PRIORITIES, Reason, RuleError, evaluate, sentence, validate

ARCHIVE, READER = 1, 2
DESTINATIONS = frozenset({ARCHIVE, READER})
NAMES = {ARCHIVE: "Archive", READER: "Reader"}
FACTS: dict[str, Any] = {
    "modality": "CT",
    "calling_ae_title": "CT_NORTH",
    "site": "MAIN",
    "study_description": "CT head and neck",
    "series_description": ["Scout", "Axial 5 mm"],
    "body_part_examined": [],
    "sop_class_uid": ["1.2.840.10008.5.1.4.1.1.2"],
    "number_of_instances": 40,
    "time": dt.time(10, 30),
    "weekday": 7,
}


def condition(field: str, op: str, value: Any = None) -> dict[str, Any]:
    return {"field": field, "op": op, "value": value}


def to(destination: int, priority: str = "normal") -> dict[str, Any]:
    return {"action": "send", "destination": destination, "priority": priority}


def rule(when: Any, *then: dict[str, Any], name: str = "a rule", **more: Any) -> dict[str, Any]:
    return {"name": name, "enabled": True, "when": when, "then": list(then or (to(ARCHIVE),)), **more}


def holds(when: Any, **facts: Any) -> bool:
    return bool(evaluate([rule(when)], {**FACTS, **facts}).sends)


YES, NO = condition("modality", "eq", "CT"), condition("modality", "eq", "MR")


@pytest.mark.parametrize(
    ("field", "op", "value", "expected"),
    [
        ("modality", "eq", "ct", True),
        ("modality", "ne", "CT", False),
        ("modality", "in", ["MR", "CT"], True),
        ("modality", "not_in", ["MR", "CT"], False),
        ("calling_ae_title", "starts_with", "ct_", True),
        ("study_description", "contains", "HEAD", True),
        ("station_name", "is_empty", None, True),
        ("station_name", "is_set", None, False),
        ("station_name", "ne", "CT1", True),
        ("series_description", "contains", "axial", True),
        ("series_description", "contains", "coronal", False),
        ("body_part_examined", "is_empty", None, True),
        ("sop_class_uid", "eq", "1.2.840.10008.5.1.4.1.1.2", True),
        ("number_of_instances", "ge", 40, True),
        ("number_of_instances", "gt", "40", False),
        ("weekday", "in", [6, 7], True),
        ("weekday", "lt", 6, False),
    ],
)
def test_a_condition_asks_what_it_says(field: str, op: str, value: Any, expected: bool) -> None:
    assert holds({"all": [condition(field, op, value)]}) is expected


@given(st.lists(st.booleans(), max_size=5))
def test_all_any_and_none_are_what_logic_says(members: list[bool]) -> None:
    parts = [YES if each else NO for each in members]
    assert holds({"all": parts}) is all(members)
    assert holds({"any": parts}) is any(members)
    assert holds({"none": parts}) is not any(members)
    assert holds({"none": [{"any": parts}]}) is holds({"none": parts})
    assert holds({"none": [{"none": parts}]}) is holds({"any": parts})


times = st.times().map(lambda each: each.replace(second=0, microsecond=0))


@given(times, times, times)
def test_a_time_is_in_a_span_or_in_the_rest_of_the_day(start: dt.time, end: dt.time, now: dt.time) -> None:
    def between(first: dt.time, last: dt.time) -> bool:
        return holds({"all": [condition("time", "between", [f"{first:%H:%M}", f"{last:%H:%M}"])]}, time=now)

    if start != end:
        assert between(start, end) is not between(end, start)
    assert between(start, end) is any(
        (dt.datetime.combine(dt.date(2026, 7, day), start) <= dt.datetime.combine(dt.date(2026, 7, 6), now))
        and dt.datetime.combine(dt.date(2026, 7, 6), now)
        < dt.datetime.combine(dt.date(2026, 7, day if start <= end else day + 1), end)
        for day in (5, 6)
    )


@pytest.mark.parametrize(("now", "expected"), [("17:59", False), ("18:00", True), ("00:00", True), ("07:00", False)])
def test_the_night_lasts_over_midnight(now: str, expected: bool) -> None:
    night = {"all": [condition("time", "between", ["18:00", "07:00"])]}
    assert holds(night, time=dt.time.fromisoformat(now)) is expected


def test_all_rules_count_and_the_first_to_name_a_destination_sets_its_priority() -> None:
    plan = evaluate(
        [
            rule({"all": []}, to(ARCHIVE, "urgent"), name="first"),
            rule({"all": [NO]}, to(READER), name="not now"),
            rule({"all": []}, to(ARCHIVE, "offpeak"), to(READER), name="last"),
            rule({"all": []}, {"action": "keep"}, name="switched off", enabled=False),
        ],
        FACTS,
    )
    assert [(each.destination, each.priority, each.rule) for each in plan.sends] == [
        (ARCHIVE, "urgent", "first"),
        (READER, "normal", "last"),
    ]
    assert (plan.keep, list(plan.reasons)) == (False, ["first", "not now", "last"])


def test_a_rule_may_keep_a_study_here_on_purpose() -> None:
    plan = evaluate([rule({"all": [YES]}, {"action": "keep"})], FACTS)
    assert (plan.keep, plan.sends) == (True, ())


def test_the_explanation_says_what_was_asked_and_what_was_there() -> None:
    when = {"any": [NO, {"all": [condition("body_part_examined", "eq", "HEAD"), condition("time", "between", ["08:00", "17:00"])]}]}  # fmt: skip  # noqa: E501
    reason = evaluate([rule(when)], FACTS).reasons["a rule"]
    modality, nested = reason.children
    assert (reason.passed, reason.text) == (False, "any")
    assert modality == Reason(False, "modality is MR (it is CT)")
    assert nested.children == (
        Reason(False, "body part is HEAD (it is empty)"),
        Reason(True, "time of day is between 08:00, 17:00 (it is 10:30)"),
    )


# --- what may be published ------------------------------------------------------------------------------

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from([*FIELDS, "send", "keep", "18:00"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["all", "any", "none", "field", "op", "value", "action", "destination", "priority"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)
values = (
    anything
    | st.lists(st.integers(-9, 99) | st.text(max_size=3), max_size=3)
    | st.sampled_from(
        [["18:00", "07:00"], ["18:00+01:00", "07:00"], {"18:00": 1, "07:00": 2}, "--5", "²", "1.5", 10**12]
    )
)
conditions = st.sampled_from(list(FIELDS)).flatmap(
    lambda name: st.fixed_dictionaries(
        {"field": st.just(name), "op": st.sampled_from(FIELDS[name].operators), "value": values}
    )
)
groups = st.recursive(
    conditions | anything,
    lambda inner: st.sampled_from(["all", "any", "none"]).flatmap(
        lambda name: st.fixed_dictionaries({name: st.lists(inner, max_size=3)})
    ),
    max_leaves=6,
)
actions = anything | st.fixed_dictionaries(
    {"action": st.sampled_from(["send", "keep"]), "destination": st.sampled_from([1, 2, 3, True, "1"])},
    optional={"priority": st.sampled_from([*PRIORITIES, "", None])},
)
rules = anything | st.lists(
    anything
    | st.fixed_dictionaries(
        {"name": st.text(max_size=4), "when": groups, "then": st.lists(actions, max_size=2)},
        optional={"enabled": st.booleans() | st.just("no")},
    ),
    max_size=3,
)
facts = st.fixed_dictionaries(
    {},
    optional={
        name: {
            "text": st.text(max_size=5),
            "number": st.integers(0, 9999),
            "time": times,
            "list": st.lists(st.text(max_size=5), max_size=3),
        }[kind.kind]
        for name, kind in FIELDS.items()
    },
)


@given(rules, facts)
def test_what_may_be_published_can_be_evaluated_and_said(asked: Any, there: dict[str, Any]) -> None:
    if validate(asked, DESTINATIONS):
        return
    plan = evaluate(asked, there)
    assert {each.destination for each in plan.sends} <= DESTINATIONS
    for each in asked:
        assert sentence(each, NAMES).startswith("When ")


@given(conditions, facts)
def test_a_condition_that_may_be_published_has_an_answer(asked: dict[str, Any], there: dict[str, Any]) -> None:
    when = {"all": [asked]}
    if validate([rule(when)], DESTINATIONS):
        with pytest.raises(RuleError):
            evaluate([rule(when)], there)
    else:
        assert evaluate([rule(when)], there).reasons["a rule"].children[0].text.endswith(")")


def nested(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = {"all": []}
    for _ in range(levels):
        node = {"any": [node]}
    return node


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({}, "rules"),
        (["x"], "rules[0]"),
        ([rule({"all": []}, name=" ")], "rules[0].name"),
        ([rule({"all": []}, name="n" * 101)], "rules[0].name"),
        ([rule({"all": []}), rule({"all": []})], "rules[1].name"),
        ([rule({"all": []}, enabled="no")], "rules[0].enabled"),
        ([rule(None)], "rules[0].when"),
        ([rule({"all": [], "any": []})], "rules[0].when"),
        ([rule({"all": [YES, {"any": [YES, condition("colour", "eq", "red")]}]})], "rules[0].when.all[1].any[1]"),
        ([rule({"all": [condition("modality", "between", "CT")]})], "rules[0].when.all[0]"),
        ([rule({"all": [condition("modality", "eq", "")]})], "rules[0].when.all[0]"),
        ([rule({"all": [condition("modality", "in", [])]})], "rules[0].when.all[0]"),
        ([rule({"all": [condition("number_of_instances", "gt", "--5")]})], "rules[0].when.all[0]"),
        ([rule({"all": [condition("time", "between", ["18:00+01:00", "07:00"])]})], "rules[0].when.all[0]"),
        ([rule(nested(11))], "rules[0].when" + ".any[0]" * 11),
        ([rule({"all": []}, to(3))], "rules[0].then[0].destination"),
        ([rule({"all": []}, to(True))], "rules[0].then[0].destination"),
        ([rule({"all": []}, to(ARCHIVE), to(READER, "soon"))], "rules[0].then[1].priority"),
        ([rule({"all": []}, {"action": "delete"})], "rules[0].then[0]"),
        ([{**rule({"all": []}), "then": []}], "rules[0].then"),
    ],
)
def test_what_may_not_be_published_is_named_by_its_path(asked: Any, where: str) -> None:
    [(path, message)] = validate(asked, DESTINATIONS)
    assert path == where
    assert message


def test_groups_may_be_nested_ten_deep() -> None:
    assert validate([rule(nested(10))], DESTINATIONS) == []


def test_a_rule_that_cannot_be_evaluated_says_where() -> None:
    with pytest.raises(RuleError) as raised:
        evaluate([rule({"all": [YES, {"any": [condition("colour", "eq", "red")]}]})], FACTS)
    assert raised.value.where == "rules[0].when.all[1].any[0]"


@pytest.mark.parametrize(
    ("when", "then", "said"),
    [
        ({"all": [YES]}, [to(ARCHIVE)], "When modality is CT, send to Archive at normal priority"),
        ({"all": []}, [{"action": "keep"}], "When any study comes, keep it here"),
        (
            {"all": []},
            [to(ARCHIVE), to(READER), to(9)],
            "When any study comes, send to Archive, Reader and a destination that is gone at normal priority",
        ),
        (
            {"any": [YES, {"all": [NO, condition("number_of_instances", "gt", 10)]}]},
            [to(ARCHIVE, "urgent"), to(9)],
            "When (modality is CT or (modality is MR and number of instances is more than 10)), "
            "send to Archive at urgent priority and send to a destination that is gone at normal priority",
        ),
        (
            {"none": [condition("study_description", "contains", "head and neck"), NO]},
            [to(READER)],
            "When not (study description contains head and neck or modality is MR), send to Reader at normal priority",
        ),
    ],
)
def test_a_rule_is_said_as_a_person_says_it(when: Any, then: list[dict[str, Any]], said: str) -> None:
    assert sentence(rule(when, *then), NAMES) == said
