"""The desk of retention rules: legal and compliance officers change them, through the action."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from compliance.actions import retention
from compliance.admin.desk import Desk, actor_of
from compliance.models import RetentionRule
from compliance.templatetags.desks import badge


@admin.register(RetentionRule)
class RetentionDesk(Desk):
    """Rules by tenant type and data category. They are switched off, never deleted."""

    list_display = ("name", "category", "tenant_kind", "basis", "ground", "days", "in_force")
    list_filter = ("basis", "ground", "active", "category")
    search_fields = ("name", "category", "citation")
    fields = retention.FIELDS

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("compliance.add_retentionrule")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("compliance.change_retentionrule")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        made = super().get_form(request, obj, change, **kwargs)
        actor = actor_of(request)

        class Checked(made):  # type: ignore[misc,valid-type]
            """Shows the action's refusal beside the form."""

            def _post_clean(self) -> None:
                super()._post_clean()
                if not self.errors:
                    for sentence in retention.check_save_rule(self.instance, actor=actor):
                        self.add_error(None, forms.ValidationError(sentence))

        return Checked

    def save_model(self, request: HttpRequest, obj: RetentionRule, form: Any, change: bool) -> None:
        retention.save_rule(obj, actor=actor_of(request))

    @admin.display(description="in force", ordering="active")
    def in_force(self, row: RetentionRule) -> SafeString:
        return badge("done" if row.active else "cancelled", "in force" if row.active else "switched off")
