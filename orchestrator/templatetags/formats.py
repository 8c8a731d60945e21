"""`{% load formats %}`: how one value is shown. The components that hold several are in `components`.

Everything here escapes what it is given: names, identifiers and texts come from peers.
"""

import datetime as dt
from collections.abc import Sized
from functools import lru_cache
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from pydicom.uid import UID

from orchestrator.states import LOOKS, MACHINES, Look

from . import differences, moments, person_names

register = template.Library()

_KIBI = 1024
_NOTHING = "\N{EN DASH}"
_EMPTY = mark_safe('<span class="sub">empty</span>')


@register.simple_tag
@lru_cache(maxsize=512)  # a page of a list has hundreds, of few kinds
def icon(name: str, extra: str = "") -> SafeString:
    """`{% icon "inbox" %}`, `{% icon "down" "i-s" %}`: a sign of static/icons.svg, hidden from screen readers."""
    return format_html(
        '<svg class="{}" aria-hidden="true"><use href="{}#{}"/></svg>',
        f"i {extra}".strip(),
        static("icons.svg"),
        name,
    )


@register.simple_tag
def st(colour: str, icon_name: str, text: object, *, pill: bool = False) -> SafeString:
    """`{% st "bad" "clock" "Silent" %}`: a state with its sign and its word."""
    classes = f"st is-{colour} pill" if pill else f"st is-{colour}"
    return format_html('<span class="{}">{}{}</span>', classes, icon(icon_name), text)


@register.simple_tag
def state(machine: str, value: str, text: str = "", *, pill: bool = False) -> SafeString:
    """`{% state "study.custody" study.custody %}`: a status of one of states.MACHINES, in its colour, sign and word.

    `text` is written instead of the label (`Matched, by rule`). A value that is not in the table is shown as it is.
    """
    states = MACHINES[machine].states
    look = LOOKS[states].get(value, Look("idle", "dashed"))
    label = states(value).label if value in states.values else value
    return st(look.colour, look.icon, text or label, pill=pill)


@register.simple_tag
def ident(value: object, *, missing: str = "", copy: bool = True) -> SafeString:
    """`{% ident study.accession_number missing="no accession" %}`: an identifier, mono, with a copy button."""
    text = person_names.visible(str(value if value is not None else ""))
    if not text:
        return format_html('<span class="sub">{}</span>', missing) if missing else _EMPTY
    button = (
        format_html(
            '<button class="copy" type="button" data-copy="{}" aria-label="Copy {}">{}</button>',
            text,
            text,
            icon("copy", "i-s"),
        )
        if copy
        else ""
    )
    return format_html('<span class="mono wrap">{}</span>{}', text, button)


@register.filter
def person(value: object) -> str:
    """`{{ patient.name|person }}`: `FAMILY, Given` with the other writings in brackets; `no name` when empty."""
    name = person_names.read(value)
    others = f" ({'; '.join(name.others)})" if name.others else ""
    return f"{name.main}{others}" or person_names.NO_NAME


@register.simple_tag
def person_name(value: object, *, missing: str = person_names.NO_NAME, strong: bool = True) -> SafeString:
    """`{% person_name claim.patient_name missing="no name in the images" %}`: with its other writings beside it."""
    name = person_names.read(value)
    if not name.main:
        return format_html('<span class="sub">{}</span>', missing)
    others = format_html_join("", ' <bdi class="sub">{}</bdi>', ((group,) for group in name.others))
    return format_html('<bdi class="{}">{}</bdi>{}', "strong" if strong else "name", name.main, others)


@register.filter
def initials(value: object) -> str:
    """`Mara Lindqvist` → `ML`, `admin` → `AD`."""
    words = [word for word in str(value or "").replace(".", " ").split() if word[0].isalnum()]
    letters = [word[0] for word in (words[0], words[-1])] if len(words) > 1 else [*words, ""][:1]
    return "".join(letters)[:2].upper()


@register.simple_tag
def by(name: object, *, me: bool = False) -> SafeString:
    """`{% by case.owner.get_full_name me=mine %}`: the round sign of a person; without a name, `Unassigned`."""
    text = str(name or "")
    if not text:
        return format_html('<span class="by none" title="{0}"><span class="sr">{0}</span></span>', "Unassigned")
    return format_html(
        '<span class="{}" title="{}{}"><span aria-hidden="true">{}</span><span class="sr">{}</span></span>',
        "by me" if me else "by",
        text,
        " (you)" if me else "",
        initials(text),
        text,
    )


def _time(moment: dt.datetime, words: str) -> SafeString:
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        timezone.localtime(moment).isoformat(timespec="seconds"),
        moments.exact(moment),
        words,
    )


@register.simple_tag
def ago(moment: dt.datetime | None, *, missing: str = "never") -> SafeString:
    """`{% ago study.received_at %}`: relative in words, exact on hover."""
    if moment is None:
        return format_html('<span class="sub">{}</span>', missing)
    return _time(moment, moments.relative(moment, timezone.now()))


@register.simple_tag
def clock(moment: dt.datetime | None) -> SafeString:
    """`{% clock event.at %}`: `08:47` today, `15 Nov 08:47` this year, the date before; exact on hover."""
    if moment is None:
        return format_html('<span class="sub">{}</span>', _NOTHING)
    local, now = timezone.localtime(moment), timezone.localtime()
    form = "%H:%M" if local.date() == now.date() else "%d %b %H:%M" if local.year == now.year else "%Y-%m-%d"
    return _time(moment, local.strftime(form))


@register.simple_tag
def due(moment: dt.datetime | None, *, missing: str = "no due time") -> SafeString:
    """`{% due case.due_at %}`: time left in colour and in words: `12 min over`, `16 min left`, `1 h 08 left`."""
    if moment is None:
        return format_html('<span class="sub">{}</span>', missing)
    left = moments.due(moment, timezone.now())
    time = _time(moment, left.words)
    if left.colour is None:
        return format_html('<span class="ink2">{}</span>', time)
    return st(left.colour, "clock", time)


@register.filter
def span(value: dt.timedelta | float | None) -> str:
    """`{{ seconds|span }}`: a duration in words: `46 min`, `4 h 11`, `3 d 4 h`."""
    if value is None:
        return _NOTHING
    return moments.long_ago(value.total_seconds() if isinstance(value, dt.timedelta) else value)


@register.filter
def took(seconds: float) -> str:
    """`{{ 0.038|took }}`: how long something took: `38 ms`, `1.8 s`, `46 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else moments.long_ago(seconds)


@register.filter
def waited(moment: dt.datetime | None) -> str:
    """`{{ case.opened_at|waited }}`: the age of something, for a column of ages."""
    return _NOTHING if moment is None else moments.long_ago((timezone.now() - moment).total_seconds())


@register.filter
def iso_date(value: object) -> str:
    """`{{ "19680314"|iso_date }}` → `1968-03-14`; also from a date, or HL7 text; unreadable text as it was sent."""
    return person_names.visible(moments.iso_date(value)) or _NOTHING


@register.filter
def dicom_time(value: object) -> str:
    """`{{ "084710.12"|dicom_time }}` → `08:47:10`."""
    return person_names.visible(moments.iso_time(value)) or _NOTHING


@register.filter
def hl7_time(value: object) -> str:
    """`{{ "202611160845+0100"|hl7_time }}` → `2026-11-16 08:45 +0100`: HL7 TS or DICOM DT, zone kept as sent."""
    return person_names.visible(moments.iso_moment(value)) or _NOTHING


@register.filter
def age(born: object, on: object = None) -> str:
    """`{{ patient.birth_date|age }}` → `65 y`, today or on the date that is given."""
    return moments.age(born, on if isinstance(on, dt.date) else timezone.localdate())


@register.filter
def uid_name(uid: str) -> str:
    """`{{ "1.2.840.10008.5.1.4.1.1.2"|uid_name }}` → `CT Image Storage`; a UID of no standard stays as it is."""
    return str(UID(uid).name)


@register.filter
def count(value: Any) -> str:
    """`{{ 1248|count }}` → `1,248`; a list is counted, nothing is a dash; what was counted so far has a plus."""
    if value is None or value == "":
        return _NOTHING
    number = len(value) if isinstance(value, Sized) and not isinstance(value, str) else int(value)
    return f"{number:,}{'+' if getattr(value, 'is_more', False) else ''}"


@register.filter
def badge(value: int) -> str:
    """The same where there is little room: `10k+` for what is more than 10,000."""
    return f"{value // 1000}k+" if getattr(value, "is_more", False) and value >= 1000 else count(value)


@register.filter
def size(value: float | None) -> str:
    """`{{ 228589568|size }}` → `218 MB` (of 1,048,576 bytes)."""
    if value is None:
        return _NOTHING
    amount = float(value)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < _KIBI:
            return f"{amount:.0f} {unit}" if unit in {"B", "KB", "MB"} else f"{amount:.1f} {unit}"
        amount /= _KIBI
    return f"{amount:.1f} TB"


def _marked(pieces: list[differences.Piece], colour: str) -> SafeString:
    forms = {
        "same": "{1}",
        "differs": '<mark class="is-{0}">{1}</mark>',
        "gap": '<mark class="gap is-{0}" aria-hidden="true">{1}</mark>',
    }
    return format_html_join("", "{}", ((format_html(forms[kind], colour, text),) for text, kind in pieces))


@register.simple_tag
def pair(
    received: object, ordered: object, *, left: str = "images", right: str = "order", colour: str = "wait"
) -> SafeString:
    """`{% pair claim.patient_id order.patient_id colour="bad" %}`: received over ordered, letter over letter.

    Equal values stand once ("both"); an empty one is written in words; letters that differ are marked.
    """
    over, under = (person_names.visible(str(value if value is not None else "")) for value in (received, ordered))
    if over and differences.same(over, under):
        rows = [("both", format_html("{}", over))]
    elif over and under:
        first, second = differences.compare(over, under)
        rows = [(left, _marked(first, colour)), (right, _marked(second, colour))]
    else:
        rows = [(left, format_html("{}", over or _EMPTY)), (right, format_html("{}", under or _EMPTY))]
    return format_html('<div class="pair">{}</div>', format_html_join("", "<i>{}</i><span>{}</span>", rows))
