"""Accounts: only an administrator of the program changes them, and roles are audited. API tokens are read and revoked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponseBase
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from compliance import audit
from compliance.actions import tokens
from compliance.admin.desk import Desk, actor_of
from compliance.models import ApiToken
from compliance.templatetags.desks import badge, when

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class PeopleDesk(UserAdmin, ModelAdmin):  # type: ignore[misc,type-arg]
    """Accounts and their roles."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "roles", "is_active", "last_login")
    list_fullwidth = True

    @admin.display(description="roles")
    def roles(self, user: User) -> str:
        return ", ".join(user.groups.values_list("name", flat=True))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        user: User = form.instance
        data = {
            "account": user.pk,
            "active": user.is_active,
            "administrator": user.is_superuser,
            "roles": sorted(user.groups.values_list("name", flat=True)),
        }
        audit.record_now("account.changed" if change else "account.added", actor=actor_of(request), data=data)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # what they decided names them; an account is switched off instead


@admin.register(Group)
class RoleDesk(GroupAdmin, ModelAdmin):  # type: ignore[misc]
    """The roles; what they may do is set by the program."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(ApiToken)
class TokenDesk(Desk):
    """Bearer tokens: who holds them, for which tenant. Only a hash is kept."""

    list_display = ("name", "user", "tenant", "scopes", "expires", "standing")
    list_filter = ("tenant",)
    page_template = "compliance/token.html"

    def context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {"reasons": tokens.check_revoke(row, actor=actor_of(request))}

    def verbs(self) -> dict[str, Callable[[HttpRequest, Any], str | HttpResponseBase | None]]:
        return {"revoke": self.revoke}

    def revoke(self, request: HttpRequest, row: ApiToken) -> str:
        """It opens nothing from now on."""
        tokens.revoke(row, actor=actor_of(request))
        return "Revoked: the token opens nothing any more."

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, row: ApiToken) -> str:
        return when(row.expires_at)

    @admin.display(description="standing")
    def standing(self, row: ApiToken) -> SafeString:
        return badge("cancelled", "revoked") if row.revoked_at else badge("done", "valid")
