"""What every view of the API asks first: the token's scope, and its tenant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from compliance.actors import Actor, person
from compliance.api import errors
from compliance.api.throttling import UserRate
from compliance.models import ApiToken
from lifecycle.systems.base import Permanent, Transient


class TokenView(GenericViewSet[Any]):
    """A viewset whose actor is the token's owner. `scopes` maps an action to the scope that it needs (else `read`)."""

    scopes: ClassVar[dict[str, str]] = {}
    throttle_classes = (UserRate,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuses a token without the action's scope with 403."""
        super().initial(request, *args, **kwargs)
        needed = self.scopes.get(self.action or "", ApiToken.Scope.READ)
        if needed not in self.token.scopes:
            raise PermissionDenied(f"The token lacks the scope `{needed}`. Ask for one that has it.")

    def get_exception_handler(self) -> Callable[..., Response | None]:
        """A system that can't be reached is no fault of the caller's: 503 to try again, 502 where somebody must look."""
        return _handler

    @property
    def token(self) -> ApiToken:
        """The token of this call."""
        token = self.request.auth
        if not isinstance(token, ApiToken):
            raise PermissionDenied("The API is used with a bearer token.")
        return token

    @property
    def actor(self) -> Actor:
        """The token's owner."""
        return person(self.token.user, via="api")

    @property
    def tenant_id(self) -> str:
        """The one tenant that the token sees."""
        return str(self.token.tenant_id)


def _handler(error: Exception, context: dict[str, Any]) -> Response | None:
    if isinstance(error, Transient):
        return Response(
            {"error": "A system does not answer. Try again.", "reasons": [str(error)]}, status=503
        )
    if isinstance(error, Permanent):
        return Response({"error": "A system refuses.", "reasons": [str(error)]}, status=502)
    return errors.handler(error, context)
