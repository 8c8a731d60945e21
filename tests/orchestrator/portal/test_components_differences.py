"""Received over ordered, letter over letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.templatetags.differences import Piece, compare, letters, same
from orchestrator.templatetags.formats import pair


def _drawn(pieces: list[Piece]) -> str:
    return "".join(piece.text if piece.kind == "same" else f"[{piece.text}]" for piece in pieces)


@pytest.mark.parametrize(
    ("received", "ordered", "over", "under"),
    [
        (
            "OKONKWO-BRANT^ADAEZE", "OKONKWO-BRANDT^Adaeze NGOZI",
            "OKONKWO-BRAN[·]T^ADAEZE[······]", "OKONKWO-BRAN[D]T^Adaeze[ NGOZI]",
        ),
        ("S0771240", "S0771204", "S07712[40]", "S07712[04]"),
        ("1957-04-11", "1957-11-04", "1957-[04]-[11]", "1957-[11]-[04]"),
        ("00470931", "470931", "[00]470931", "[··]470931"),
        ("ROSSI^ANNA", "ROSSI^ANA", "ROSSI^AN[N]A", "ROSSI^AN[·]A"),
        ("CT THORAX KM", "CT CHEST W CONTRAST", "CT [THORAX KM]", "CT [CHEST W CONTRAST]"),
        ("Siobhán", "SIOBHA\u0301N", "Siobhán", "SIOBHA\u0301N"),
        ("Siobhan", "Siobhán", "Siobh[a]n", "Siobh[á]n"),
    ],
)  # fmt: skip
def test_only_the_letters_that_differ_are_marked(received: str, ordered: str, over: str, under: str) -> None:
    first, second = compare(received, ordered)
    assert (_drawn(first), _drawn(second)) == (over, under)


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=60)


@given(TEXTS, TEXTS)
def test_what_is_shown_is_what_was_given(received: str, ordered: str) -> None:
    for pieces, text in zip(compare(received, ordered), (received, ordered), strict=True):
        assert "".join(piece.text for piece in pieces if piece.kind != "gap") == text


@given(TEXTS, TEXTS)
def test_nothing_is_marked_exactly_when_the_values_are_the_same(received: str, ordered: str) -> None:
    first, second = compare(received, ordered)
    marked = any(piece.kind != "same" for piece in [*first, *second])
    assert marked is not same(received, ordered)


@given(TEXTS, TEXTS)
def test_what_agrees_stands_in_the_same_column(received: str, ordered: str) -> None:
    columns = []
    for pieces in compare(received, ordered):
        at, agreed = 0, []
        for piece in pieces:
            width = len(piece.text) if piece.kind == "gap" else len(letters(piece.text))
            if piece.kind == "same":
                agreed.append((at, width))
            at += width
        columns.append(agreed)
    assert columns[0] == columns[1]


def test_hostile_values_of_any_length_cost_no_time() -> None:
    first, second = compare("ab" * 50_000, "ba" * 50_000)
    assert [first[0].kind, second[0].kind] == ["differs", "differs"]


def test_a_pair_marks_in_the_colour_of_the_verdict_and_escapes() -> None:
    shown = pair("<b>1</b>", "<b>2</b>", colour="bad")
    assert shown == (
        '<div class="pair"><i>images</i><span>&lt;b&gt;<mark class="is-bad">1</mark>&lt;/b&gt;</span>'
        '<i>order</i><span>&lt;b&gt;<mark class="is-bad">2</mark>&lt;/b&gt;</span></div>'
    )


def test_missing_letters_are_a_gap_that_screen_readers_pass_over() -> None:
    assert '<mark class="gap is-wait" aria-hidden="true">·</mark>' in pair("ROSSI^ANA", "ROSSI^ANNA")


def test_equal_values_stand_once_and_missing_ones_are_said_in_words() -> None:
    assert pair("CT", "ct") == '<div class="pair"><i>both</i><span>CT</span></div>'
    assert '<i>archive</i><span><span class="sub">empty</span></span>' in pair(None, "S1", left="archive")
    assert pair("", "").count("empty") == 2
