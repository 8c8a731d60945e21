"""What a person says when they settle a case."""

import datetime as dt
from collections.abc import Iterable, Mapping
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
    """A reason, and for each attribute that differs whose value leaves: the order's, or the images'."""

    remember = forms.BooleanField(
        label="Same for later images of this study that say the same", required=False, initial=True
    )

    def __init__(self, data: Mapping[str, Any] | None = None, *, changes: Iterable[Mapping[str, str]] = ()) -> None:
        super().__init__(data)
        for change in changes:
            if change["before"]:
                self.fields[f"side_{change['attribute']}"] = forms.ChoiceField(
                    label=change["label"],
                    choices=[("order", f"{change['after']} (order)"), ("study", f"{change['before']} (images)")],
                    initial="order",
                    required=False,
                )

    def sides(self) -> dict[str, str]:
        """{DICOM keyword: side} as chosen."""
        return {
            name.removeprefix("side_"): value or "order"
            for name, value in self.cleaned_data.items()
            if name.startswith("side_")
        }
