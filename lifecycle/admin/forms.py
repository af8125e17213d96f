"""The form with which an officer files a request that came by another way."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from compliance.admin.desk import choices
from compliance.models import ErasureRequest
from lifecycle.models import Tenant

GROUNDS = (
    ("a", "(a) no longer necessary"),
    ("b", "(b) consent withdrawn"),
    ("c", "(c) objection (Art. 21)"),
    ("d", "(d) unlawful processing"),
    ("e", "(e) legal obligation to erase"),
    ("f", "(f) collected from a child"),
)


def _line(**attributes: str) -> UnfoldAdminTextInputWidget:
    return UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", **attributes})


class FilingForm(forms.Form):
    """What `compliance.actions.filing.file_request` takes."""

    tenant_id = forms.ChoiceField(label="Tenant", widget=UnfoldAdminSelectWidget)
    user = forms.CharField(
        label="User id", required=False, widget=_line(placeholder="leave empty for the whole tenant"),
        help_text="The platform's own id of the person. Empty: the whole tenant is erased, which needs two approvals.",
    )  # fmt: skip
    requested_by = forms.CharField(
        label="Requested by", widget=_line(placeholder="mail address", inputmode="email"),
        help_text="An administrator of the tenant, or the person with a signed request. The certificate goes there.",
    )  # fmt: skip
    regime = forms.ChoiceField(choices=ErasureRequest.Regime.choices, widget=UnfoldAdminSelectWidget)
    ground = forms.ChoiceField(
        label="Ground, Art. 17(1)", choices=GROUNDS, initial="b", widget=UnfoldAdminSelectWidget
    )
    received_at = forms.DateTimeField(
        label="Received at (UTC)", required=False, widget=_line(type="datetime-local"),
        help_text="Starts the legal clock. Empty: now.",
    )  # fmt: skip
    reason = forms.CharField(
        required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Kept under the case's key; it is gone when the case closes.",
    )  # fmt: skip
    signature = forms.CharField(
        required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Only for a person's own signed request: the signature, with the time of receipt that was signed.",
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tenants = Tenant.objects.exclude(status=Tenant.Status.ERASED).values_list("pk", "name")
        choice = self.fields["tenant_id"]
        if isinstance(choice, forms.ChoiceField):
            choice.choices = choices(((pk, f"{pk} · {name}") for pk, name in tenants), "Choose…")

    def arguments(self) -> dict[str, Any]:
        """For the action: what was left empty is None."""
        given = self.cleaned_data
        return {**given, "user": given["user"] or None, "signature": given["signature"].strip() or None}
