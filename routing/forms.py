"""What is asked of a person who looks after destinations, deliveries and rules."""

from collections.abc import Mapping
from typing import Any, cast

from django import forms

from orchestrator.forms import ReasonForm
from orchestrator.models import Site
from orchestrator.permissions import Viewer, visible_to
from routing.models import Destination
from routing.rules import FIELDS, OPERATORS, PRIORITIES, problem_of


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


class RuleForm(forms.Form):
    """What a rule is called, and how its conditions join."""

    name = forms.CharField(max_length=100)
    enabled = forms.BooleanField(required=False, initial=True)
    join = forms.ChoiceField(
        label="It applies when",
        choices=[("all", "all of these are true"), ("any", "any of these is true"), ("none", "none of these is true")],
    )
    keep = forms.BooleanField(label="Keep it here on purpose: going nowhere is no exception", required=False)


class ConditionForm(forms.Form):
    """One row of the condition builder; an empty row is no condition."""

    field = forms.ChoiceField(choices=[("", "Field"), *((name, each.label) for name, each in FIELDS.items())])
    op = forms.ChoiceField(label="Operator", choices=[("", "Operator"), *OPERATORS.items()])
    value = forms.CharField(required=False, help_text="Several with commas; times as 18:00, 07:00")

    def clean(self) -> dict[str, Any]:
        facts = dict(super().clean() or {})
        if facts.get("field") and facts.get("op"):
            facts["condition"] = condition_of(facts["field"], facts["op"], facts.get("value", ""))
            problem = problem_of(facts["condition"])
            if problem:
                self.add_error("value" if facts["op"] in FIELDS[facts["field"]].operators else "op", problem)
        return facts


class SendForm(forms.Form):
    """One destination of a rule; an empty row sends nowhere."""

    destination = forms.ModelChoiceField(Destination.objects.order_by("name"), empty_label="Destination")
    priority = forms.ChoiceField(choices=[(each, f"{each} priority") for each in PRIORITIES], initial="normal")


ConditionRows = forms.formset_factory(ConditionForm, extra=1, max_num=50, absolute_max=60)
SendRows = forms.formset_factory(SendForm, extra=1, max_num=20, absolute_max=30)


def condition_of(field: str, op: str, text: str) -> dict[str, Any]:
    """A typed row as a condition."""
    parts = [each.strip() for each in text.split(",") if each.strip()]
    if op in ("is_empty", "is_set"):
        return {"field": field, "op": op}
    number = FIELDS[field].kind == "number"
    values: list[Any] = [int(each) if number and each.lstrip("-").isdecimal() else each for each in parts]
    if op in ("in", "not_in", "between"):
        return {"field": field, "op": op, "value": values}
    return {"field": field, "op": op, "value": values[0] if number and values else text.strip()}
