"""What is asked of a person who looks after destinations, deliveries and rules."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from django import forms

from orchestrator.forms import ReasonForm
from orchestrator.models import Site
from orchestrator.permissions import Viewer, visible_to
from routing.rules import FIELDS, OPERATORS, PRIORITIES, problem_of

# A value of a list: in double quotes (a quote within is doubled), or all up to the next comma.
_PART = re.compile(r'[ ]*(?:"((?:[^"]|"")*)"[ ]*(?=,|$)|([^,]+))(?:,|$)')


class DestinationForm(forms.Form):
    """A DICOM destination. What an AE title, a host and a port may be the service says, for the REST API too."""

    name = forms.CharField(max_length=100)
    ae_title = forms.CharField(label="AE title", max_length=16)
    host = forms.CharField(max_length=255, help_text="Name or address, without a scheme.")
    port = forms.IntegerField(initial=104)
    required_for_custody = forms.BooleanField(
        required=False, help_text="A study counts as delivered only once this destination has all of it."
    )


class NewDestinationForm(DestinationForm):
    site = forms.ModelChoiceField(Site.objects.none(), label="Stands at", empty_label=None)

    def __init__(self, data: Mapping[str, Any] | None = None, *, viewer: Viewer) -> None:
        super().__init__(data)
        site = cast("forms.ModelChoiceField[Site]", self.fields["site"])
        site.queryset = visible_to(Site.objects.order_by("name"), viewer, "destinations.edit")


class ChangedDestinationForm(DestinationForm, ReasonForm):
    field_order = ("name", "ae_title", "host", "port", "required_for_custody", "reason")


class CommentForm(forms.Form):
    comment = forms.CharField(
        label="Why, for those who read the history", max_length=2000, widget=forms.Textarea({"rows": 2})
    )


class StampForm(forms.Form):
    """Which draft was on the page that is sent (services.rulesets.stamp_of)."""

    stamp = forms.CharField(required=False, widget=forms.HiddenInput)


class StampedCommentForm(StampForm, CommentForm):
    """A comment on rules that were shown."""


class TryForm(forms.Form):
    """A study that rules are asked about. It comes by POST: a UID names a patient's study, and stands in no URL."""

    study = forms.CharField(
        label="Study Instance UID, or our number",
        max_length=64,
        error_messages={"required": "Say which study."},
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    rules = forms.ChoiceField(
        label="Ask", choices=[("published", "the published rules"), ("draft", "the draft")], initial="published"
    )


class RuleForm(forms.Form):
    """What a rule is called, and how its conditions join."""

    name = forms.CharField(max_length=100, error_messages={"required": "A name is needed."})
    enabled = forms.BooleanField(required=False, initial=True)
    join = forms.ChoiceField(
        label="It applies when",
        choices=[("all", "all of these are true"), ("any", "any of these is true"), ("none", "none of these is true")],
    )
    keep = forms.BooleanField(label="Keep it here on purpose: going nowhere is no exception", required=False)


class ConditionForm(forms.Form):
    """One row of the condition builder; an empty row is no condition."""

    field = forms.ChoiceField(
        choices=[("", "Field"), *((name, each.label) for name, each in FIELDS.items())],
        error_messages={"required": "Choose a field."},
    )
    op = forms.ChoiceField(
        label="Operator",
        choices=[("", "Operator"), *OPERATORS.items()],
        error_messages={"required": "Choose an operator."},
    )
    value = forms.CharField(required=False, max_length=5000)

    def clean(self) -> dict[str, Any]:
        facts = dict(super().clean() or {})
        if facts.get("field") and facts.get("op"):
            facts["condition"] = condition_of(facts["field"], facts["op"], facts.get("value", ""))
            problem = problem_of(facts["condition"])
            if problem:
                self.add_error("value" if facts["op"] in FIELDS[facts["field"]].operators else "op", problem)
        return facts


class SendForm(forms.Form):
    """One destination of a rule; an empty row sends nowhere. `called`: names by id, read once for all rows."""

    destination = forms.TypedChoiceField(coerce=int, error_messages={"required": "Choose a destination."})
    priority = forms.ChoiceField(choices=[(each, f"{each} priority") for each in PRIORITIES], initial="normal")

    def __init__(self, *arguments: Any, called: Mapping[int, str], **more: Any) -> None:
        super().__init__(*arguments, **more)
        choices = sorted(called.items(), key=lambda each: each[1].casefold())
        cast("forms.TypedChoiceField", self.fields["destination"]).choices = [("", "Destination"), *choices]


ConditionRows = forms.formset_factory(ConditionForm, extra=1, max_num=50, absolute_max=60)
SendRows = forms.formset_factory(SendForm, extra=1, max_num=20, absolute_max=30)


def condition_of(field: str, op: str, text: str) -> dict[str, Any]:
    """A typed row as a condition."""
    if op in ("is_empty", "is_set"):
        return {"field": field, "op": op}
    convert = _number if FIELDS[field].kind == "number" else str.strip
    if op in ("in", "not_in", "between"):
        return {"field": field, "op": op, "value": [convert(each) for each in parts_of(text)]}
    return {"field": field, "op": op, "value": convert(text)}


def _number(text: str) -> int | str:
    """The number that was typed; what is none stays as it is, for `rules.problem_of` to name."""
    text = text.strip()
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text


def parts_of(text: str) -> list[str]:
    """Values typed with commas between them; one that has a comma itself stands in double quotes."""
    parts = [quoted.replace('""', '"') or plain for quoted, plain in _PART.findall(text)]
    return [part.strip() for part in parts if part.strip()]


def text_of(values: Iterable[Any]) -> str:
    """Values as `parts_of` reads them."""
    texts = map(str, values)
    return ", ".join('"' + each.replace('"', '""') + '"' if set(each) & {",", '"'} else each for each in texts)
