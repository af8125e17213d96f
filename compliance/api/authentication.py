"""Bearer tokens: the actor is the token's owner, and the token is bound to one tenant."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from compliance.actions import tokens
from compliance.models import ApiToken


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer TOKEN`. `request.auth` is the ApiToken."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """None without the header; AuthenticationFailed for a token that is unknown, revoked or past its end."""
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != b"bearer":
            return None
        token = tokens.find(words[1].decode("ascii", "replace")) if len(words) == 2 else None
        if token is None:
            raise AuthenticationFailed("The token is unknown, revoked or past its end. Ask for a new one.")
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        """Makes a missing token a 401."""
        return "Bearer"


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI document names it."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """HTTP bearer."""
        return {"type": "http", "scheme": "bearer"}
