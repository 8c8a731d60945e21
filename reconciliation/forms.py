"""What a person says when they settle a case."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django import forms
from django.utils import timezone

from orchestrator.forms import ReasonForm
from reconciliation.services.decisions import REJECT_CODES

SNOOZES = [("1", "1 hour"), ("4", "4 hours"), ("12", "12 hours"), ("24", "1 day"), ("72", "3 days")]


class SnoozeForm(ReasonForm):
    hours = forms.ChoiceField(label="For", choices=SNOOZES, initial="4")
    field_order = ("hours", "reason")

    def until(self) -> dt.datetime:
        return timezone.now() + dt.timedelta(hours=int(self.cleaned_data["hours"]))


class RejectForm(ReasonForm):
    code = forms.ChoiceField(label="Code", choices=[("", "Choose"), *REJECT_CODES.items()])
    field_order = ("code", "reason")


class MatchForm(ReasonForm):
    remember = forms.BooleanField(
        label="Same for later images of this study that say the same", required=False, initial=True
    )

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data)
        # The choices above it are made already; the reason is what is asked.
        self.fields["reason"].widget.attrs["autofocus"] = True


class SidesForm(forms.Form):
    """For each attribute that differs, whose value leaves: the order's, or the images'.

    An issuer leaves with its ID: an ID under the issuer of another one would name somebody else.
    """

    def __init__(self, data: Mapping[str, Any] | None = None, *, changes: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(data)
        self.changes = changes
        self.id_differs = any(change["attribute"] == "PatientID" and change["before"] for change in changes)
        for change in changes:
            if change["before"] and not (self.id_differs and change["attribute"] == "IssuerOfPatientID"):
                self.fields[f"side_{change['attribute']}"] = forms.ChoiceField(
                    label=change["label"],
                    choices=[("study", change["before"]), ("order", change["after"])],
                    initial="order",
                    required=False,
                    widget=forms.RadioSelect,
                )

    def rows(self) -> Iterator[tuple[Mapping[str, str], forms.BoundField | None]]:
        """Each attribute that changes, with its choice; None where nothing was received to choose."""
        for change in self.changes:
            name = f"side_{change['attribute']}"
            yield change, self[name] if name in self.fields else None

    def sides(self) -> dict[str, str]:
        """{DICOM keyword: side} as chosen."""
        chosen = {name.removeprefix("side_"): value or "order" for name, value in self.cleaned_data.items()}
        if self.id_differs:
            chosen["IssuerOfPatientID"] = chosen["PatientID"]
        return chosen
