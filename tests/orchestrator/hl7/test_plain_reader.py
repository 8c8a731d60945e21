"""The lazy reader and its mapping say what plain ones say, which take no short cuts (hypothesis)."""

import datetime as dt
import re
from contextlib import suppress
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hl7.mapping import _birth_date, _start, parts_of
from orchestrator.hl7.messages import Malformed, read, read_header
from tests.orchestrator.hl7.speech import msh

# Mostly what has a meaning of its own, in no good order.
MARKED = st.text(st.sampled_from('^~\\&^~\\&|FSTREX.br0041Ü "'), max_size=30)
SEPARATORS = st.permutations("|^~\\&#$@%")


def unescaped(text: str, signs: str, codec: str) -> str:
    """Escape sequences one after another, by hand."""
    separator, component, repetition, escape, subcomponent = list(signs)
    known = {"F": separator, "S": component, "T": subcomponent, "R": repetition, "E": escape, ".br": "\n"}
    done = ""
    while text:
        name, closed, rest = text[1:].partition(escape) if text[0] == escape else ("", "", "")
        if not closed:
            done, text = done + text[0], text[1:]
            continue
        if name in known:
            said = known[name]
        elif name.startswith("X") and re.fullmatch("([0-9A-Fa-f]{2})+", name[1:]):
            said = bytes.fromhex(name[1:]).decode(codec, errors="strict").replace("\0", "")
        else:
            said = escape + name + escape
        done, text = done + said, rest
    return done


def plain_value(line: str, place: tuple[int, int, int], signs: str, codec: str) -> str:
    number, component, subcomponent = place
    text = line
    for separator, wanted in zip(
        (signs[0], signs[2], signs[1], signs[4]), (number, 0, component - 1, subcomponent - 1), strict=True
    ):
        parts = text.split(separator)
        if wanted >= len(parts):
            return ""
        text = parts[wanted]
    return unescaped(text, signs, codec)


@given(line=MARKED, signs=SEPARATORS, data=st.data())
def test_a_value_is_what_splitting_it_from_the_outside_in_gives(
    line: str, signs: list[str], data: st.DataObject
) -> None:
    marks = "".join(signs[:5])
    named = {"|": 0, "^": 1, "~": 2, "\\": 3, "&": 4}
    text = "ZZZ" + marks[0] + "".join(marks[named[each]] if each in named else each for each in line)
    head = msh("ORM", "1", charset="8859/1").replace("|", "\0").replace("^~\\&", marks[1:]).replace("\0", marks[0])
    segment = read(f"{head}\r{text}".encode("latin-1")).first("ZZZ")
    assert segment is not None
    place = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)))
    expected = plain_value(text, place, marks, "latin-1")
    assert segment.get(*place) == expected
    repetitions = segment.repetitions(place[0])
    if place[2] == 1 and place[1] <= 3:
        assert (repetitions[0].first(3)[place[1] - 1] if repetitions else "") == expected
    assert (repetitions[0].get(*place[1:]) if repetitions else "") == expected


@given(header=st.lists(MARKED, min_size=6, max_size=18), number=st.integers(3, 18), component=st.integers(1, 3))
def test_a_header_says_the_same_alone_and_in_its_message(header: list[str], number: int, component: int) -> None:
    raw = ("MSH|^~\\&|" + "|".join(each.translate({124: "", 220: "U"}) for each in header)).encode()
    alone = read_header(raw)
    line = raw.decode()
    with suppress(Malformed):
        message = read(raw, default_charset="8859/1")
        if message.encoding.codec == "iso8859-1":
            expected = plain_value("MSH|" + line[3:], (number, component, 1), "|^~\\&", "latin-1")
            assert message.msh.get(number, component) == alone.msh.get(number, component) == expected


@pytest.mark.parametrize("raw", [b"MSH\0\0\0\0\0", b"MSH|\0\0\0\0\0\0", b"MSH|^~\\\0\0\0"])
def test_a_header_whose_characters_are_nul_is_refused_and_not_stumbled_over(raw: bytes) -> None:
    for reading in (read_header, read):
        with pytest.raises(Malformed) as problem:
            reading(raw)
        assert problem.value.ack_code == "AR"


def plain_parts(names: list[str]) -> list[list[str]]:
    """What an ORC says, with one OBR and what follows that: names with their places."""
    parts: list[list[str]] = []
    orders = "".join(f"{name} " for name in names).split("ORC")[1:]
    for order in orders:
        before, *each_with_its_own = order.split("OBR")
        head = ["ORC", *before.split()]
        parts += [[*head, "OBR", *own.split()] for own in each_with_its_own] or [head]
    return parts


@given(names=st.lists(st.sampled_from(["ORC", "OBR", "TQ1", "NTE", "IPC"]), max_size=12))
def test_the_parts_of_an_order_message_are_each_obr_with_what_its_orc_says(names: list[str]) -> None:
    message = read("\r".join([msh("ORM^O01", "1"), *(f"{name}|{place}" for place, name in enumerate(names))]).encode())
    found = parts_of(message)
    expected = plain_parts(names)
    assert len(found) == len(expected)
    for part, said in zip(found, expected, strict=True):
        assert {name for name in ("ORC", "OBR", "TQ1", "NTE", "IPC") if part[name]} == set(said)


DIGITS = st.text(st.sampled_from("0123456789"), min_size=8, max_size=14)
NEARLY = st.datetimes(dt.datetime(1, 1, 1)).map(lambda each: f"{each:%Y%m%d%H%M%S}".rjust(14, "0"))  # noqa: DTZ001


def by_strptime(text: str, form: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(text, form)  # noqa: DTZ007  a wall clock
    except ValueError:
        return None


@given(text=st.one_of(DIGITS, NEARLY))
def test_a_start_is_the_wall_clock_that_the_calendar_knows(text: str) -> None:
    day = by_strptime(text[:8], "%Y%m%d")
    clock = by_strptime(text[8:].ljust(6, "0"), "%H%M%S") if text[8:] else None
    if len(text) % 2 or day is None or (text[8:] and clock is None):
        with pytest.raises(Malformed):
            _start("ORC-7", text)
    else:
        assert _start("ORC-7", text) == (day.date(), clock.time() if clock else None)


@given(text=st.one_of(DIGITS, NEARLY))
def test_a_birth_date_is_a_day_that_the_calendar_knows(text: str) -> None:
    day = by_strptime(text[:8], "%Y%m%d")
    found: dt.date | Literal[""] | None = None
    with suppress(Malformed):
        found = _birth_date(text)
    assert found == (day.date() if day else None)
