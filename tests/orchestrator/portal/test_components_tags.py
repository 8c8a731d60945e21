"""The components as HTML: escaped, named for screen readers, never by colour alone."""

import datetime as dt
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django import forms
from django.template import engines
from django.utils import timezone

from orchestrator.states import LOOKS, MACHINES
from orchestrator.templatetags import drawings
from orchestrator.templatetags.components import VERDICTS
from orchestrator.templatetags.formats import by, count, icon, ident, size, st, state

HOSTILE = '"><script>alert(1)</script>'
ICONS = Path("static/icons.svg").read_text()


def draw(template: str, **context: Any) -> str:
    return engines["django"].from_string("{% load formats components %}" + template).render(context)


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_every_state_has_a_sign_that_exists_and_its_word(name: str) -> None:
    for value in MACHINES[name].states:
        shown = state(name, value)
        look = LOOKS[MACHINES[name].states][value]
        assert f'class="st is-{look.colour}"' in shown
        assert shown.endswith(f"{value.label}</span>")
        assert f'<symbol id="{look.icon}"' in ICONS


def test_a_state_from_the_database_is_plain_text_and_an_unknown_one_is_shown_as_it_is() -> None:
    assert "is-bad" in state("study.custody", "INCOMPLETE")
    assert state("delivery", HOSTILE).endswith("&lt;script&gt;alert(1)&lt;/script&gt;</span>")
    assert 'class="st is-wait pill"' in state("claim", "HELD", "Held since 09:00", pill=True)


def test_what_peers_send_is_escaped_everywhere() -> None:
    candidate = {"score": 1, "name": HOSTILE, "line": HOSTILE, "accession_number": HOSTILE, "warning": HOSTILE}
    row = {"field": HOSTILE, "verdict": "differ", "received": HOSTILE, "expected": "x", "note": HOSTILE}
    shown = (
        draw("{% include 'components/candidate.html' %}", candidate={**candidate, "evidence": [row]})
        + draw("{% log entries %}", entries=[{"at": timezone.now(), "text": HOSTILE, "sub": HOSTILE}])
        + draw("{% dims items %}{% tabs items h %}", items=[{"label": HOSTILE, "text": HOSTILE, "url": "?"}], h=HOSTILE)
        + draw("{% empty h h %}", h=HOSTILE)
        + ident(HOSTILE)
        + by(HOSTILE)
        + st("bad", "clock", HOSTILE)
    )
    assert "<script" not in shown.lower()
    assert HOSTILE not in shown


def test_an_identifier_is_copied_whole_and_a_missing_one_is_said_in_words() -> None:
    assert 'data-copy="S261116-0121" aria-label="Copy S261116-0121"' in ident("S261116-0121")
    assert ident("", missing="no accession") == '<span class="sub">no accession</span>'
    assert ident(None) == '<span class="sub">empty</span>'
    assert "button" not in ident("A", copy=False)


def test_an_icon_is_hidden_from_screen_readers() -> None:
    assert icon("down", "i-s") == '<svg class="i i-s" aria-hidden="true"><use href="/static/icons.svg#down"/></svg>'


def test_people_have_their_name_beside_the_sign() -> None:
    assert '<span class="sr">Mara Lindqvist</span>' in by("Mara Lindqvist", me=True)
    assert 'title="Mara Lindqvist (you)"' in by("Mara Lindqvist", me=True)
    assert "Unassigned" in by("")


@pytest.mark.parametrize(("value", "shown"), [(1248, "1,248"), ([1, 2], "2"), (0, "0"), ("12345", "12,345")])
def test_counts(value: object, shown: str) -> None:
    assert count(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0 B"), (1023, "1023 B"), (228589568, "218 MB"), (3 * 2**30, "3.0 GB"), (2**42, "4.0 TB")]
)
def test_sizes(value: int, shown: str) -> None:
    assert size(value) == shown


@dataclass
class Item:
    """Evidence as an object, as matching gives it."""

    field: str
    verdict: str
    received: str
    expected: object
    points: int | None = None


def test_evidence_says_each_verdict_in_words_and_compares_letter_by_letter() -> None:
    rows = [
        Item("patient_id", "close", "S0771240", "S0771204", 16),
        Item("birth_date", "agree", "19680314", dt.date(1968, 3, 14), 15),
        Item("accession_number", "missing", "", "S261116-0121"),
    ]
    shown = draw("{% evidence rows score=86 sentence='Auto-match needs 95.' %}", rows=rows)
    assert 'S07712<mark class="is-wait">40</mark>' in shown
    assert "<i>both</i><span>1968-03-14</span>" in shown
    assert "not counted" in shown
    assert "Auto-match needs 95." in shown
    for verdict in ("close", "agree", "missing"):
        assert VERDICTS[verdict][2] in shown
    strip = draw("{% evidence_strip rows %}", rows=rows)
    assert '<span class="sr">Patient ID close</span>' in strip
    assert 'title="Birth date: agree"' in strip


class EndpointForm(forms.Form):
    ae_title = forms.CharField(label="AE title", max_length=16, help_text="As the peer calls itself.")
    required = forms.BooleanField(label="Required for custody", required=False)
    when = forms.ChoiceField(choices=[("a", "Always"), ("w", "In a window")], widget=forms.RadioSelect)


def test_a_field_is_tied_to_its_hint_and_its_error() -> None:
    form = EndpointForm({"ae_title": "CT_HARBOR_SECOND_ROOM", "when": ""})
    shown = draw("{% form_errors form %}{% for f in form %}{% field f mono=True %}{% endfor %}", form=form)
    assert 'class="in mono" aria-describedby="id_ae_title_hint id_ae_title_error" aria-invalid="true"' in shown
    assert '<span class="err" id="id_ae_title_error">' in shown
    assert 'value="CT_HARBOR_SECOND_ROOM"' in shown
    assert '<label class="tick" for="id_required">' in shown
    assert "<legend>When</legend>" in shown
    assert "<b>2 fields need you.</b>" in shown


def test_a_form_without_errors_says_nothing() -> None:
    assert "role" not in draw("{% form_errors form %}", form=EndpointForm())


def test_a_pager_knows_no_page_numbers() -> None:
    shown = draw("{% pager 25 42 next='?after=9' %}")
    assert "25 of 42" in shown
    assert 'href="?after=9" rel="next"' in shown
    assert "Previous" not in shown
    assert "25 of about 10,000" in draw("{% pager 25 10000 estimate=True %}")


NOW = dt.datetime(2026, 11, 16, 9, 42, tzinfo=dt.UTC)


def _moment(minutes: float, rail: str = "Images", label: str = "received") -> drawings.Moment:
    return drawings.Moment(NOW - dt.timedelta(minutes=minutes), rail, label)


def test_a_timeline_keeps_the_order_of_time_and_stays_in_its_frame() -> None:
    drawn = drawings.timeline([_moment(minutes) for minutes in (150, 70, 16, 1)], NOW)
    assert drawn is not None
    places = [mark.x for mark in drawn.marks]
    assert places == sorted(places)
    assert drawn.now is not None
    assert 92 <= places[0] < places[-1] <= drawn.now <= 1024.1


def test_a_long_pause_is_squeezed_and_said() -> None:
    nine_days = 9 * 24 * 60
    drawn = drawings.timeline([_moment(nine_days + 30, "Orders"), _moment(30), _moment(0)], NOW)
    assert drawn is not None
    assert [tick.text for tick in drawn.breaks] == ["8 d 23 h"]
    assert drawn.marks[2].x - drawn.marks[1].x > 400


def test_labels_of_a_timeline_never_cover_one_another() -> None:
    drawn = drawings.timeline([_moment(minutes / 10, label="a rather long label") for minutes in range(40)], NOW)
    assert drawn is not None
    labels = [mark.label for mark in drawn.marks if mark.label]
    assert 0 < len(labels) < 40
    for row in {label.y for label in labels}:
        spots = sorted(label.x for label in labels if label.y == row and label.anchor == "start")
        assert all(right - left > 100 for left, right in pairwise(spots))


def test_nothing_to_draw_is_nothing_drawn() -> None:
    assert drawings.timeline([], NOW) is None
    assert "<svg" not in draw("{% timeline moments %}", moments=[])
    assert "no figures yet" in draw("{% spark values 'Queue' %}", values=[1])


def test_a_sparkline_outside_the_usual_is_hot() -> None:
    calm = drawings.spark([1, 2, 3], [0, 0, 0], [4, 4, 4], width=96, height=24)
    high = drawings.spark([1, 2, 9], [0, 0, 0], [4, 4, 4], width=96, height=24)
    assert calm is not None
    assert high is not None
    assert (calm.hot, high.hot) == (False, True)
    assert high.y == pytest.approx(3.0)
