"""What a person says when they settle a case."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from django import forms
from django.db.models import Q
from django.utils import timezone

from orchestrator.forms import ReasonForm
from orchestrator.models import RoleAssignment, User
from orchestrator.permissions import ACTIONS, Viewer
from orchestrator.services.corrections import ISSUER
from reconciliation.services.decisions import REJECT_CODES

SNOOZES = [("1", "1 hour"), ("4", "4 hours"), ("12", "12 hours"), ("24", "1 day"), ("72", "3 days")]


class SnoozeForm(ReasonForm):
    hours = forms.ChoiceField(label="For", choices=SNOOZES, initial="4")
    field_order = ("hours", "reason")

    def until(self) -> dt.datetime:
        return timezone.now() + dt.timedelta(hours=int(self.cleaned_data["hours"]))


class AssignForm(ReasonForm):
    """To whom: somebody who settles cases where the viewer does, or at all sites."""

    to = forms.TypedChoiceField(label="To", coerce=int)
    field_order = ("to", "reason")

    def __init__(self, data: Mapping[str, Any] | None = None, *, viewer: Viewer) -> None:
        super().__init__(data)
        may = RoleAssignment.objects.filter(role__in=ACTIONS["exceptions.resolve"])
        if (sites := viewer.sites_for("exceptions.resolve")) is not None:
            may = may.filter(Q(site__in=sites) | Q(site=None))
        people = User.objects.filter(is_active=True, pk__in=may.values("user"))
        people = people.order_by("last_name", "first_name", "username")
        self.names = {each.pk: each.get_full_name() or each.username for each in people}
        cast("forms.TypedChoiceField", self.fields["to"]).choices = list(self.names.items())

    def name(self) -> str:
        """Who was chosen."""
        return self.names[self.cleaned_data["to"]]


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

    An issuer leaves with its ID (corrections.ISSUER): there is one choice for both.
    """

    def __init__(self, data: Mapping[str, Any] | None = None, *, changes: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(data)
        self.changes = changes
        differing = [change["attribute"] for change in changes]
        together = [keyword for keyword in ("PatientID", *ISSUER) if keyword in differing]
        # These leave as the first of them does.
        self.led = frozenset(together[1:])
        for change in changes:
            if change["before"] and change["attribute"] not in self.led:
                self.fields[f"side_{change['attribute']}"] = forms.ChoiceField(
                    label=change["label"],
                    choices=[("study", change["before"]), ("order", change["after"] or "empty")],
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
        return {name.removeprefix("side_"): value or "order" for name, value in self.cleaned_data.items()}
