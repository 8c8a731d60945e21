"""What is asked of a person who looks after destinations, deliveries and rules."""

from collections.abc import Mapping
from typing import Any, cast

from django import forms

from orchestrator.models import Site
from orchestrator.permissions import Viewer, visible_to


class ReasonForm(forms.Form):
    """Why. It stands in the history of what is touched."""

    reason = forms.CharField(
        label="Reason", max_length=500, help_text="Stands in the history. No patient data, please."
    )


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
