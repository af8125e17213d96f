"""Erasure requests by REST: the command line's verbs. A user's id stands in bodies, never in a URL."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from compliance import pseudonyms, statements
from compliance.actions import deciding, mentions, recipients
from compliance.errors import Refused
from compliance.models import ApiToken, ErasureRequest
from lifecycle.api import shapes
from lifecycle.api.access import TokenView
from lifecycle.erasure import actions, intake, status

S = ApiToken.Scope
BRIEF = shapes.Brief
STATUS = OpenApiTypes.OBJECT
_COUNTABLE = (
    ErasureRequest.State.RECEIVED,
    ErasureRequest.State.VALIDATED,
    ErasureRequest.State.AWAITING_APPROVAL,
)


class Requests(TokenView):
    """Requests of the token's tenant."""

    queryset = ErasureRequest.objects.none()
    serializer_class = shapes.Brief
    lookup_value_regex = "er-[a-z0-9]+"
    scopes: ClassVar[dict[str, str]] = {
        "create": S.REQUEST,
        "recount": S.REQUEST,
        "cancel": S.REQUEST,
        "approve": S.DECIDE,
        "reject": S.DECIDE,
        "extend": S.DECIDE,
        "around_hold": S.DECIDE,
        "mentions": S.DECIDE,
        "decide": S.DECIDE,
        "settle": S.DECIDE,
        "retry": S.RUN,
    }

    def get_queryset(self) -> Any:
        """Only the token's tenant."""
        return ErasureRequest.objects.select_related("tenant").filter(tenant_id=self.tenant_id)

    def _one(self) -> ErasureRequest:
        found: ErasureRequest = self.get_queryset().get(pk=self.kwargs["pk"])
        return found

    def _said(self, shape: Any) -> dict[str, Any]:
        given = shape(data=self.request.data)
        given.is_valid(raise_exception=True)
        said: dict[str, Any] = given.validated_data
        return said

    @extend_schema(responses=BRIEF(many=True))
    def list(self, request: Request) -> Response:
        """Requests by deadline."""
        return Response([shapes.brief(each, self.actor) for each in self.get_queryset()])

    @extend_schema(request=shapes.NewRequest, responses={201: BRIEF})
    def create(self, request: Request) -> Response:
        """Files a request and previews it. Another `requested_by` than the token's is refused."""
        said = self._said(shapes.NewRequest)
        if pseudonyms.of_mail(said["requested_by"]) != self.token.requester_mail_hmac:
            raise PermissionDenied("The token may not ask in the name of this requester.")
        made = intake.request(
            actor=self.actor,
            tenant_id=self.tenant_id,
            user=said.get("user") or None,
            requested_by=said["requested_by"],
            regime=said["regime"],
            ground=said["ground"],
            received_at=said.get("received_at"),
            reason=said["reason"],
            signature=said.get("signature"),
        )
        return Response(shapes.brief(made, self.actor), status=201)

    @extend_schema(responses=STATUS)
    def retrieve(self, request: Request, pk: str) -> Response:
        """The whole status, as `erasure status --json`."""
        found = self._one()
        return Response({**status.of(found), "state": statements.shown_code(found, self.actor)})

    @extend_schema(responses=STATUS)
    @action(detail=True, methods=["get"])
    def preview(self, request: Request, pk: str) -> Response:
        """What the approvers are shown, with its digest."""
        return self._preview(self._one())

    @extend_schema(request=None, responses=STATUS)
    @preview.mapping.post
    def recount(self, request: Request, pk: str) -> Response:
        """Counts every system anew, until somebody decided. A changed plan asks for every approval again."""
        found = self._one()
        if found.state not in _COUNTABLE:
            raise Refused(f"Request {found.pk} is decided; its preview stays what was decided on.")
        return self._preview(intake.preview(found, actor=self.actor))

    @extend_schema(request=shapes.Digest, responses=BRIEF)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        """Approves exactly what the digest stands for."""
        return self._brief(
            deciding.approve(self._one(), actor=self.actor, digest=self._said(shapes.Digest)["digest"])
        )

    @extend_schema(request=shapes.Reason, responses=BRIEF)
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str) -> Response:
        """Rejects; the requester hears why and what can be done against it."""
        return self._brief(
            deciding.reject(self._one(), actor=self.actor, reason=self._said(shapes.Reason)["reason"])
        )

    @extend_schema(request=shapes.Reason, responses=BRIEF)
    @action(detail=True, methods=["post"])
    def extend(self, request: Request, pk: str) -> Response:
        """Extends the clock once."""
        return self._brief(
            deciding.extend(self._one(), actor=self.actor, reason=self._said(shapes.Reason)["reason"])
        )

    @extend_schema(request=shapes.Reason, responses=BRIEF)
    @action(detail=True, methods=["post"], url_path="around-hold")
    def around_hold(self, request: Request, pk: str) -> Response:
        """Erases a tenant around its held users (legal)."""
        reason = self._said(shapes.Reason)["reason"]
        return self._brief(deciding.choose_around_hold(self._one(), actor=self.actor, reason=reason))

    @extend_schema(request=shapes.OptionalReason, responses=BRIEF)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancels; what was planted is taken out again."""
        reason = self._said(shapes.OptionalReason)["reason"]
        return self._brief(actions.cancel(self._one(), actor=self.actor, reason=reason))

    @extend_schema(request=shapes.Retry, responses=BRIEF)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Goes on with what failed."""
        found = self._one()
        actions.retry(found, actor=self.actor, system=self._said(shapes.Retry).get("system"))
        found.refresh_from_db()
        return self._brief(found)

    @extend_schema(responses=STATUS)
    @action(detail=True, methods=["get"])
    def mentions(self, request: Request, pk: str) -> Response:
        """Mentions in other people's data, with what surrounds them; reading is audited."""
        return Response(mentions.read(self._one(), actor=self.actor))

    @extend_schema(request=shapes.MentionChoice, responses=BRIEF)
    @action(detail=True, methods=["post"])
    def decide(self, request: Request, pk: str) -> Response:
        """Decides one mention."""
        found, said = self._one(), self._said(shapes.MentionChoice)
        mentions.decide(found.mentions.get(pk=said["mention"]), actor=self.actor, choice=said["choice"])
        actions.wake(found)
        return self._brief(found)

    @extend_schema(request=shapes.Settlement, responses=BRIEF)
    @action(detail=True, methods=["post"])
    def settle(self, request: Request, pk: str) -> Response:
        """Settles one recipient that no adapter reaches."""
        found, said = self._one(), self._said(shapes.Settlement)
        recipient = found.recipients.get(name=said["recipient"])
        recipients.settle(recipient, actor=self.actor, state=said["state"], evidence=said["evidence"])
        actions.wake(found)
        return self._brief(found)

    def _preview(self, found: ErasureRequest) -> Response:
        systems = {
            name: {"found": each.get("found", 0), "kinds": each.get("kinds", {})}
            for name, each in found.preview.items()
        }
        state = statements.shown_code(found, self.actor)
        return Response({"id": found.pk, "state": state, "digest": found.digest, "systems": systems})

    def _brief(self, found: ErasureRequest) -> Response:
        return Response(shapes.brief(found, self.actor))
