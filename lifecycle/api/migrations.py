"""Moves by REST: the command line's verbs, for the tenant of the token."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from compliance.models import ApiToken
from lifecycle.api import shapes
from lifecycle.api.access import TokenView
from lifecycle.migration import actions, status
from lifecycle.models import Migration

S = ApiToken.Scope
STATUS = OpenApiTypes.OBJECT
_VERBS = ("create", "start", "advance", "pause", "resume", "rollback", "verify", "complete", "cancel")


class NewMove(shapes.Plain):
    """A move that is planned. The tenant is the token's."""

    to = serializers.CharField(help_text="The region to move to.")
    soak = serializers.ChoiceField(choices=Migration.Soak.choices, required=False)
    override_reason = serializers.CharField(
        required=False, allow_blank=True, default="", help_text="Why without a rehearsal (platinum)."
    )


class Comparison(shapes.Plain):
    """Whether what differs is mended."""

    repair = serializers.BooleanField(default=False)


class Migrations(TokenView):
    """Moves of the token's tenant."""

    queryset = Migration.objects.none()
    serializer_class = shapes.Document
    lookup_value_regex = "mig-[a-z0-9]+"
    scopes: ClassVar[dict[str, str]] = dict.fromkeys(_VERBS, S.RUN)

    def get_queryset(self) -> Any:
        """Only the token's tenant."""
        return Migration.objects.filter(tenant_id=self.tenant_id)

    def _one(self) -> Migration:
        found: Migration = self.get_queryset().get(pk=self.kwargs["pk"])
        return found

    def _said(self, shape: Any) -> dict[str, Any]:
        given = shape(data=self.request.data)
        given.is_valid(raise_exception=True)
        said: dict[str, Any] = given.validated_data
        return said

    def _status(self, found: Migration, code: int = 200) -> Response:
        found.refresh_from_db()
        return Response(status.of(found), status=code)

    @extend_schema(responses=shapes.Document(many=True))
    def list(self, request: Request) -> Response:
        """Moves, the newest first."""
        return Response([status.brief(each) for each in self.get_queryset()])

    @extend_schema(request=NewMove, responses={201: STATUS})
    def create(self, request: Request) -> Response:
        """Plans a move; what stands in its way is named."""
        said = self._said(NewMove)
        made = actions.plan(
            actor=self.actor,
            tenant_id=self.tenant_id,
            region=said["to"],
            soak=said.get("soak"),
            override_reason=said["override_reason"],
        )
        return self._status(made, 201)

    @extend_schema(responses=STATUS)
    def retrieve(self, request: Request, pk: str) -> Response:
        """The whole status, as `migration status --json`."""
        return Response(status.of(self._one()))

    @extend_schema(request=shapes.Digest, responses=STATUS)
    @action(detail=True, methods=["post"])
    def start(self, request: Request, pk: str) -> Response:
        """Starts exactly the plan that the digest stands for."""
        found = self._one()
        actions.start(found, actor=self.actor, digest=self._said(shapes.Digest)["digest"])
        return self._status(found)

    @extend_schema(request=None, responses=STATUS)
    @action(detail=True, methods=["post"])
    def advance(self, request: Request, pk: str) -> Response:
        """Ends this step's soak period early; the gates are asked all the same."""
        found = self._one()
        actions.advance(found, actor=self.actor)
        return self._status(found)

    @extend_schema(request=None, responses=STATUS)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Traffic stays as it is."""
        found = self._one()
        actions.pause(found, actor=self.actor)
        return self._status(found)

    @extend_schema(request=None, responses=STATUS)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Takes it up again."""
        found = self._one()
        actions.resume(found, actor=self.actor)
        return self._status(found)

    @extend_schema(request=shapes.Reason, responses=STATUS)
    @action(detail=True, methods=["post"])
    def rollback(self, request: Request, pk: str) -> Response:
        """All traffic and all writes to blue, at once."""
        found = self._one()
        actions.rollback(found, actor=self.actor, reason=self._said(shapes.Reason)["reason"])
        return self._status(found)

    @extend_schema(request=Comparison, responses=STATUS)
    @action(detail=True, methods=["post"])
    def verify(self, request: Request, pk: str) -> Response:
        """Compares blue and green, key by key; with `repair` what differs is mended and compared again."""
        return Response(
            actions.verify(self._one(), actor=self.actor, repair=self._said(Comparison)["repair"])
        )

    @extend_schema(request=None, responses=STATUS)
    @action(detail=True, methods=["post"])
    def complete(self, request: Request, pk: str) -> Response:
        """The second person's word: blue's copy is destroyed after a last clean comparison."""
        found = self._one()
        actions.complete(found, actor=self.actor)
        return self._status(found)

    @extend_schema(request=None, responses=STATUS)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Undoes what the move made."""
        found = self._one()
        actions.cancel(found, actor=self.actor)
        return self._status(found)
