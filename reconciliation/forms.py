"""What a person says when they settle a case."""

import datetime as dt

from django import forms
from django.utils import timezone

REJECT_CODES = [
    ("wrong_patient", "Wrong patient imaged or registered"),
    ("patient_safety", "Patient safety"),
    ("quality", "Quality of the images"),
    ("test", "Test or phantom, not a patient"),
    ("duplicate", "Already here as another study"),
    ("not_ours", "Not for this hospital"),
    ("other", "Other, see the reason"),
]
SNOOZES = [("1", "1 hour"), ("4", "4 hours"), ("12", "12 hours"), ("24", "1 day"), ("72", "3 days")]


class ReasonForm(forms.Form):
    """Why. It stands in the history of what is touched."""

    reason = forms.CharField(
        label="Reason", max_length=500, help_text="Stands in the history. No patient data, please."
    )


class SnoozeForm(ReasonForm):
    hours = forms.ChoiceField(label="For", choices=SNOOZES, initial="4")
    field_order = ("hours", "reason")

    def until(self) -> dt.datetime:
        return timezone.now() + dt.timedelta(hours=int(self.cleaned_data["hours"]))


class RejectForm(ReasonForm):
    code = forms.ChoiceField(label="Code", choices=[("", "Choose"), *REJECT_CODES])
    field_order = ("code", "reason")


class MatchForm(ReasonForm):
    remember = forms.BooleanField(
        label="Same for later images of this study that say the same", required=False, initial=True
    )
