"""Person names as people read them, whatever was sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.templatetags import person_names
from orchestrator.templatetags.formats import initials, person, person_name

PARTS = st.text(st.characters(codec="utf-8", exclude_characters="^="), max_size=20)
NAMES = st.lists(PARTS, min_size=1, max_size=5).map("^".join)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("OKONKWO-BRANT^ADAEZE", "OKONKWO-BRANT, Adaeze"),
        ("Kostopoulou^Despina", "KOSTOPOULOU, Despina"),
        ("O'SHAUGHNESSY^SIOBHÁN-MARY", "O'SHAUGHNESSY, Siobhán-Mary"),
        ("abu-rashid al-farsi^Muhammad^ibn Yusuf", "ABU-RASHID AL-FARSI, Muhammad ibn Yusuf"),
        ("Adams^John Robert Quincy^^Rev.^B.A. M.Div.", "ADAMS, John Robert Quincy (Rev., B.A. M.Div.)"),
        ("MacDonald^McKenzie", "MACDONALD, McKenzie"),
        ("Strauß^Jürgen", "STRAUß, Jürgen"),
        ("Doe", "DOE"),
        ("^Jane", "Jane"),
        ("Tanaka^Hiroshi=田中^博=たなか^ひろし", "TANAKA, Hiroshi (田中, 博; たなか, ひろし)"),
        ("=김^서연", "김, 서연"),
        ("Papadopoulou^Eleni=Παπαδοπούλου^Ελένη", "PAPADOPOULOU, Eleni (Παπαδοπούλου, Ελένη)"),
        ("", "no name"),
        (None, "no name"),
        ("^^^^", "no name"),
        ("==", "no name"),
    ],
)
def test_a_name_is_shown_family_first(sent: str | None, shown: str) -> None:
    assert person(sent) == shown


def test_a_direction_override_in_a_name_is_made_visible() -> None:
    assert person("SMITH\u202e^HTIMS") == "SMITH\ufffd, Htims"
    assert person("SM\x00ITH^A\nNN") == "SM\ufffdITH, A\ufffdNn"


def test_markup_in_a_name_is_escaped() -> None:
    shown = person_name("<script>alert(1)</script>^<b>x</b>=<img>")
    assert "<script" not in shown.lower()
    assert "<b>" not in shown
    assert "&lt;SCRIPT&gt;ALERT(1)&lt;/SCRIPT&gt;, &lt;b&gt;x&lt;/b&gt;" in shown
    assert '<bdi class="sub">&lt;img&gt;</bdi>' in shown


def test_a_missing_name_is_said_in_words() -> None:
    assert person_name("", missing="no name in the images") == '<span class="sub">no name in the images</span>'


@given(NAMES)
def test_no_letter_of_a_name_is_lost(sent: str) -> None:
    """A cut name is a safety risk: every visible letter that was sent is shown, though case may change."""
    wanted = person_names.visible(sent).replace("^", "").casefold()
    shown = person(sent).casefold()
    for letter in set(wanted) - set(" \u00a0"):
        assert not letter.strip() or letter in shown or letter.upper().casefold() in shown


@given(st.text())
def test_any_text_can_be_shown_as_a_name(sent: str) -> None:
    shown = person(sent)
    assert shown
    assert not set(shown) & person_names._EMBEDDINGS


@pytest.mark.parametrize(
    ("name", "sign"),
    [("Mara Lindqvist", "ML"), ("admin", "AD"), ("m.lindqvist", "ML"), ("", ""), ("Ana B. de Vries", "AV")],
)
def test_initials_stand_for_a_person(name: str, sign: str) -> None:
    assert initials(name) == sign
