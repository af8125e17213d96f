"""What every view of the API asks first: the token's scope, and its tenant."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.throttling import UserRateThrottle
from rest_framework.viewsets import GenericViewSet

from compliance.actors import Actor, person
from compliance.models import ApiToken


class TokenView(GenericViewSet[Any]):
    """A viewset whose actor is the token's owner. `scopes` maps an action to the scope that it needs (else `read`)."""

    scopes: ClassVar[dict[str, str]] = {}
    throttle_classes = (UserRateThrottle,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuses a token without the action's scope with 403."""
        super().initial(request, *args, **kwargs)
        needed = self.scopes.get(self.action or "", ApiToken.Scope.READ)
        if needed not in self.token.scopes:
            raise PermissionDenied(f"The token lacks the scope `{needed}`. Ask for one that has it.")

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
