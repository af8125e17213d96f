"""What every desk shares: rows are read, and changed through actions only; an action's refusal becomes messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin

from compliance import audit
from compliance.actors import Actor, person
from compliance.errors import Refused
from compliance.fence import FenceTimeout
from compliance.keystore import KeyDestroyed, KeyMissing

MOST_PASSWORD_TRIALS = 5
EXPECTED: tuple[type[Exception], ...] = (Refused, FenceTimeout, KeyDestroyed, KeyMissing)


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person. Raises PermissionDenied for nobody."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return person(request.user, "admin")


def sentences(failure: Exception) -> list[str]:
    """What an expected failure says."""
    return failure.reasons if isinstance(failure, Refused) else [str(failure)]


def attempt(
    request: HttpRequest,
    act: Callable[[], str | None],
    expected: tuple[type[Exception], ...] = EXPECTED,
) -> bool:
    """Does `act`, which returns the sentence for its success; an expected failure becomes messages. True on success."""
    try:
        said = act()
    except expected as failure:
        for sentence in sentences(failure):
            messages.error(request, sentence)
        return False
    if said:
        messages.success(request, said)
    return True


def password_again(request: HttpRequest, *, case_id: str, tenant_id: str) -> bool:
    """True where the posted `password` is the person's own. Wrong ones are audited; too many end the session."""
    user = request.user
    if isinstance(user, User) and user.check_password(request.POST.get("password", "")):
        request.session["wrong_passwords"] = 0
        return True
    wrong = request.session["wrong_passwords"] = request.session.get("wrong_passwords", 0) + 1
    audit.record_now("password.refused", actor=actor_of(request), tenant_id=tenant_id, case_id=case_id)
    if wrong >= MOST_PASSWORD_TRIALS:
        request.session.flush()
        return False
    messages.error(request, "The password is wrong, so nothing was decided. Type your own password again.")
    return False


class Desk(ModelAdmin):  # type: ignore[misc]
    """A model that is read here. `page_template` shows one row; `verbs` are what may be posted to it."""

    actions = None
    list_per_page = 50
    list_fullwidth = True
    show_full_result_count = False
    list_filter_sheet = True
    page_template = ""
    expected = EXPECTED

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path("<path:object_id>/do/<slug:verb>/", wrap(require_POST(self.do_view)), name=f"{name}_do"),
            *self.more_urls(name),
            *super().get_urls(),
        ]

    def more_urls(self, name: str) -> list[URLPattern]:
        """Further pages of one row; they come before the row's own address."""
        return []

    def row(self, request: HttpRequest, object_id: str) -> Any:
        """The row, if the person may see it. Raises Http404."""
        found = self.get_object(request, unquote(object_id))
        if found is None:
            raise Http404(f"There is no {self.opts.verbose_name} of this id.")
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        return found

    def context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the page of one row shows."""
        return {}

    def verbs(self) -> dict[str, Callable[[HttpRequest, Any], str | HttpResponseBase | None]]:
        """{verb: function}; it returns the sentence for its success, or a page. Refused is caught."""
        return {}

    def page_url(self, row: Any) -> str:
        """Address of a row's page."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[quote(row.pk)])

    def show(
        self, request: HttpRequest, template: str, title: str, row: Any, context: dict[str, Any]
    ) -> TemplateResponse:
        """One of our pages in the admin's frame; never cached."""
        request.current_app = self.admin_site.name
        shown = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "row": row,
            "original": row,
            "viewer": actor_of(request),
            "has_view_permission": True,
            **context,
        }
        response = TemplateResponse(request, template, shown)
        response["Cache-Control"] = "no-store"
        return response

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if not self.page_template:
            shown: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
            return shown
        row = self.row(request, object_id)
        return self.show(request, self.page_template, str(row), row, self.context(request, row))

    def do_view(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponseBase:
        """Carries out one posted verb and returns to the row's page with messages."""
        row = self.row(request, object_id)
        act = self.verbs().get(verb)
        if act is None:
            raise Http404(f"Nothing here is called {verb}.")
        made: list[HttpResponseBase] = []

        def once() -> str | None:
            answer = act(request, row)
            if isinstance(answer, HttpResponseBase):
                made.append(answer)
                return None
            return answer

        attempt(request, once, self.expected)
        return made[0] if made else HttpResponseRedirect(self.page_url(row))


def choices(values: Iterable[tuple[str, str]], empty: str) -> list[tuple[str, str]]:
    """Choices of a select with an empty first line."""
    return [("", empty), *values]
