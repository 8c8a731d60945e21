"""`{% load components %}`: the components of the portal; each draws templates/components/<name>.html.

docs/developer-ui.md shows them with examples.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django import template
from django.contrib.messages.storage.base import Message
from django.forms import BaseForm, BoundField, CheckboxInput, CheckboxSelectMultiple, RadioSelect
from django.utils import timezone

from . import drawings, moments

register = template.Library()

Context = dict[str, Any]

# Colour, sign and word of a verdict on one field (reconciliation's evidence).
VERDICTS: Mapping[str, tuple[str, str, str]] = {
    "agree": ("good", "equal", "Agree"),
    "close": ("wait", "tilde", "Close"),
    "differ": ("bad", "differ", "Differ"),
    "missing": ("idle", "minus", "Missing"),
}

# Letter in the strip and name of each field that is compared. The order is that of the strip.
FIELDS: Mapping[str, tuple[str, str]] = {
    "patient_id": ("I", "Patient ID"),
    "issuer": ("G", "Issuer"),
    "patient_name": ("N", "Name"),
    "birth_date": ("B", "Birth date"),
    "sex": ("S", "Sex"),
    "accession_number": ("A", "Accession"),
    "modality": ("M", "Modality"),
    "procedure": ("P", "Procedure"),
    "station": ("R", "Station"),
    "day": ("T", "Day"),
    "step": ("W", "Worklist step"),
    "study_instance_uid": ("U", "Study UID"),
}
_DATES = frozenset({"birth_date", "study_date", "day"})


def _read(item: object, key: str) -> Any:
    """A key of a mapping or an attribute of an object: evidence comes as either."""
    return item.get(key) if isinstance(item, Mapping) else getattr(item, key, None)


def _row(item: object) -> Context:
    name = str(_read(item, "field") or "")
    words = name.replace("_", " ").capitalize()
    letter, label = FIELDS.get(name, (words[:1], words))
    colour, icon, verdict = VERDICTS.get(str(_read(item, "verdict")), VERDICTS["missing"])
    received, expected = _read(item, "received"), _read(item, "expected")
    if name in _DATES:
        received, expected = moments.iso_date(received), moments.iso_date(expected)
    return {
        "letter": letter,
        "label": label,
        "colour": colour,
        "icon": icon,
        "verdict": verdict,
        "received": received,
        "expected": expected,
        "points": _read(item, "points"),
        "possible": _read(item, "possible"),
        "note": _read(item, "note"),
    }


@register.inclusion_tag("components/evidence_strip.html")
def evidence_strip(evidence: Iterable[object]) -> Context:
    """`{% evidence_strip candidate.evidence %}`: one letter over one sign per field."""
    return {"rows": [_row(item) for item in evidence]}


@register.inclusion_tag("components/evidence.html")
def evidence(
    rows: Iterable[object],
    caption: str = "Evidence, field by field",
    *,
    left: str = "images",
    right: str = "order",
    score: object = None,
    sentence: str = "",
) -> Context:
    """`{% evidence candidate.evidence caption score=86 sentence="Auto-match needs 95." %}`: field by field.

    Each row has `field`, `verdict` (agree, close, differ, missing), `received`, `expected` and may have `points`,
    `possible` (points) and `note`.
    """
    built = [_row(item) for item in rows]
    return {
        "rows": built,
        "caption": caption,
        "left": left,
        "right": right,
        "score": score,
        "sentence": sentence,
        "has_points": any(row["points"] is not None for row in built),
    }


@register.inclusion_tag("components/tabs.html")
def tabs(items: Sequence[Context], label: str, *, target: str = "") -> Context:
    """`{% tabs views "Saved views" target="#list" %}`: links `{label, url, active, count, icon}`.

    With `target` they bring only that part of the page (and its address); without script they are plain links.
    """
    return {"items": items, "label": label, "target": target}


@register.inclusion_tag("components/facets.html")
def facets(groups: Sequence[Context], total: object = None, *, clear: str = "", target: str = "") -> Context:
    """`{% facets groups total=42 clear="?" target="#list" %}`: groups `{id, label, choices}`.

    Choices are `{label, url, count, active}` and may have `colour` and `icon`, as Overdue has. At the left on a
    desk, a sheet from below on a phone. `clear` is the URL without any filter, given when one is set.
    """
    return {"groups": groups, "total": total, "clear": clear, "target": target}


@register.inclusion_tag("components/sort.html")
def sort(label: str, url: str, direction: str = "", *, css: str = "", target: str = "") -> Context:
    """`{% sort "Due" "?sort=-due" "ascending" css="w-due" target="#list" %}`: a column head that sorts.

    `direction` is how the rows are sorted by this column now: ascending, descending, or empty.
    """
    return {"label": label, "url": url, "direction": direction, "css": css, "target": target}


@register.inclusion_tag("components/pager.html")
def pager(
    shown: int,
    total: int | None = None,
    *,
    next: str = "",  # noqa: A002  # the word that people who write pages expect
    previous: str = "",
    first: str = "",
    estimate: bool = False,
    looked: int = 0,
    target: str = "",
) -> Context:
    """`{% pager rows|length total next=next_url previous=previous_url %}`: keyset pages, so without page numbers."""
    return {
        "shown": shown, "total": total, "next": next, "previous": previous, "first": first, "estimate": estimate,
        "looked": looked, "target": target,
    }  # fmt: skip


@register.inclusion_tag("components/keys.html")
def keys(*hints: str) -> Context:
    """`{% keys "j k:move" "Enter:open" "?:all keys" %}`: the keys that work here."""
    parts = (hint.rpartition(":") for hint in hints)
    return {"hints": [(pressed.split(), what) for pressed, _, what in parts]}


@register.inclusion_tag("components/bulk.html")
def bulk(noun: str, actions: Sequence[Context], total: int | None = None, *, everything: bool = True) -> Context:
    """`{% bulk "exceptions" actions total=42 %}`: what can be done with the selected rows; shown when a row is ticked.

    Stands inside the form that holds the table. Actions are `{label, url, key, dialog}`: each posts the form to
    `url`; with `dialog` the answer opens as a dialog first. With `everything` all that match the page's filters can be
    meant, `total` of them where that is known.
    """
    return {"noun": noun, "actions": actions, "total": total, "everything": everything}


@register.inclusion_tag("components/empty.html")
def empty(title: str, text: str = "", *, url: str = "", link: str = "") -> Context:
    """`{% empty "No unmatched studies." "The last one was resolved 12 min ago." %}`: an empty state that teaches."""
    return {"title": title, "text": text, "url": url, "link": link}


@register.inclusion_tag("components/log.html")
def log(entries: Iterable[Context], *, two: bool = False, wide: bool = False) -> Context:
    """`{% log events two=True %}`: entries `{at, icon, text, sub, colour, rail, undo_url, end}`, one line each."""
    return {"entries": entries, "two": two, "wide": wide}


@register.inclusion_tag("components/dims.html")
def dims(items: Sequence[Context]) -> Context:
    """`{% dims dimensions %}`: states side by side, never merged: `{label, machine, value, text}`."""
    return {"items": items}


@register.inclusion_tag("components/timeline.html")
def timeline(
    happened: Iterable[drawings.Moment], now: dt.datetime | None = None, *, label: str = "Timeline picture"
) -> Context:
    """`{% timeline moments %}`: drawings.Moment(at, rail, label, colour, until) on the five rails, up to now."""
    return {"drawn": drawings.timeline(happened, now or timezone.now()), "label": label}


@register.inclusion_tag("components/spark.html")
def spark(
    values: Sequence[float],
    label: str,
    *,
    low: Sequence[float] = (),
    high: Sequence[float] = (),
    width: int = 96,
    height: int = 24,
) -> Context:
    """`{% spark values "Queue, 3 hours: 5 now, usual 0 to 2" low=low high=high %}`; the label says it in words."""
    return {"drawn": drawings.spark(values, low, high, width=width, height=height), "label": label}


@register.inclusion_tag("components/score.html")
def score(value: int | None, *, of: int = 100, missing: str = "none found") -> Context:
    """`{% score case.best_score %}`: a bar and its figure."""
    return {"value": value, "of": of, "missing": missing}


@register.inclusion_tag("components/field.html")
def field(bound: BoundField, *, mono: bool = False, autofocus: bool = False) -> Context:
    """`{% field form.ae_title mono=True %}`: label, control, hint and errors, tied together for screen readers."""
    widget = bound.field.widget
    several = isinstance(widget, RadioSelect | CheckboxSelectMultiple)
    tick = isinstance(widget, CheckboxInput)
    described = [f"{bound.auto_id}_hint"] * bool(bound.help_text) + [f"{bound.auto_id}_error"] * bool(bound.errors)
    attrs: Context = {} if several or tick else {"class": "in mono" if mono else "in"}
    if described and not several:
        attrs["aria-describedby"] = " ".join(described)
    if bound.errors and not several:
        attrs["aria-invalid"] = "true"
    if autofocus:
        attrs["autofocus"] = True
    return {
        "bound": bound,
        "control": "" if several else bound.as_widget(attrs=attrs),
        "several": several,
        "tick": tick,
        "described": " ".join(described),
    }


@register.inclusion_tag("components/form_errors.html")
def form_errors(form: BaseForm) -> Context:
    """`{% form_errors form %}`: above a form that was refused: how many fields need the person, and what was kept."""
    return {"form": form, "number": len([name for name in form.errors if name != "__all__"])}


@register.inclusion_tag("components/toast.html")
def toast(message: Message) -> Context:
    """`{% toast message %}`: a word that a view left with replies.flash, with Undo where it can be undone."""
    tag = message.extra_tags or ""
    return {
        "message": message.message,
        "colour": {"success": "good", "warning": "wait", "error": "bad"}.get(message.level_tag, "move"),
        "undo_url": tag.removeprefix("undo=") if tag.startswith("undo=") else "",
    }
