"""What is asked of a person on the pages of the ground."""

from collections.abc import Mapping
from typing import Any, cast

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.validators import MaxValueValidator

from orchestrator.kpis.definitions import Definition
from orchestrator.models import Role, Site, User
from orchestrator.permissions import Viewer, visible_to
from orchestrator.services.tokens import DEFAULT_DAYS


class ReasonForm(forms.Form):
    """Why. It stands in the history of what is touched."""

    reason = forms.CharField(
        label="Reason", max_length=500, help_text="Stands in the history. No patient data, please."
    )


class ViewForm(forms.Form):
    """The name of a saved view, and who begins with it."""

    name = forms.CharField(max_length=60, help_text="No patient data, please.")
    shared = forms.BooleanField(
        label="Shared with everybody who sees this list",
        required=False,
        help_text="Each sees the rows of their own sites.",
    )
    default = forms.BooleanField(label="My list begins with it", required=False)

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        initial: dict[str, Any] | None = None,
        may_share: bool,
        may_change: bool = True,
    ) -> None:
        super().__init__(data, initial=initial)
        self.fields["shared"].disabled = not may_share
        if not may_change:
            del self.fields["name"], self.fields["shared"]


class CallerForm(ReasonForm):
    """Where somebody belongs who may talk to us from now on."""

    site = forms.ModelChoiceField(Site.objects.none(), empty_label=None)
    field_order = ("site", "reason")

    def __init__(self, data: Mapping[str, Any] | None = None, *, viewer: Viewer) -> None:
        super().__init__(data)
        site = cast("forms.ModelChoiceField[Site]", self.fields["site"])
        site.queryset = visible_to(Site.objects.order_by("name"), viewer, "interfaces.edit")


class RoleForm(forms.Form):
    """A role at a site where the viewer may give one; at all sites only by those who look after all."""

    role = forms.ChoiceField(choices=[("", "Choose"), *Role.choices])
    site = forms.ModelChoiceField(Site.objects.none(), required=False, empty_label="All sites")

    def __init__(self, data: Mapping[str, Any] | None = None, *, viewer: Viewer) -> None:
        super().__init__(data)
        site = cast("forms.ModelChoiceField[Site]", self.fields["site"])
        site.queryset = visible_to(Site.objects.order_by("name"), viewer, "users.edit")
        if viewer.sites_for("users.edit") is not None:
            site.required, site.empty_label = True, "Choose"


class UserForm(RoleForm):
    username = forms.CharField(label="User name", max_length=150)
    first_name = forms.CharField(label="Given name", max_length=150, required=False)
    last_name = forms.CharField(label="Family name", max_length=150, required=False)
    password = forms.CharField(widget=forms.PasswordInput, validators=[validate_password])
    field_order = ("username", "first_name", "last_name", "password", "role", "site")

    def clean_username(self) -> str:
        name = str(self.cleaned_data["username"])
        User.username_validator(name)
        if User.objects.filter(username__iexact=name).exists():
            raise forms.ValidationError("This name is taken.")
        return name


class TokenForm(forms.Form):
    name = forms.CharField(max_length=100, help_text="What uses it.")
    days = forms.IntegerField(label="Valid for days", min_value=1, max_value=3650, initial=DEFAULT_DAYS)
    may_write = forms.BooleanField(label="May also write", required=False)


_UNITS = {"%": "percent", "s": "seconds", "cases": "cases"}


class TargetForm(ReasonForm):
    """What a KPI should reach."""

    value = forms.FloatField(min_value=0)
    field_order = ("value", "reason")

    def __init__(
        self, data: Mapping[str, Any] | None = None, *, definition: Definition, initial: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, initial=dict(initial or {}))
        value = cast("forms.FloatField", self.fields["value"])
        limit = "At least" if definition.more_is_better else "At most"
        value.label = f"{limit}, in {_UNITS[definition.unit]}"
        value.validators.append(MaxValueValidator(100 if definition.unit == "%" else 1e9))
