"""Holds, certificates, audit and runs by REST."""

from __future__ import annotations

import base64
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from django.conf import settings
from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from compliance import statements
from compliance.actions import heads, holds
from compliance.actors import AUDITOR, COMPLIANCE, LEGAL
from compliance.certificate import bundle, verification
from compliance.models import ApiToken, AuditEvent, Certificate, LegalHold
from lifecycle.api import shapes
from lifecycle.api.access import TokenView
from lifecycle.engine import progress, runs
from lifecycle.models import Run

S = ApiToken.Scope
OBJECT = OpenApiTypes.OBJECT
OBJECTS: Any = {200: {"type": "array", "items": {"type": "object", "additionalProperties": {}}}}


class Holds(TokenView):
    """Legal holds of the token's tenant."""

    queryset = LegalHold.objects.none()
    serializer_class = shapes.Hold
    lookup_value_regex = "lh-[a-z0-9]+"
    scopes: ClassVar[dict[str, str]] = {"create": S.HOLD, "release": S.HOLD}

    @extend_schema(operation_id="v1_holds_list", responses=OBJECTS)
    def list(self, request: Request) -> Response:
        """Holds that the token's owner may know of."""
        found = statements.visible_holds(self.actor).filter(tenant_id=self.tenant_id)
        return Response([statements.describe_hold(each, self.actor) for each in found])

    @extend_schema(request=shapes.NewHold, responses={201: shapes.Hold})
    def create(self, request: Request) -> Response:
        """Places a hold. When it answers, no deletion in its scope is in flight."""
        given = shapes.NewHold(data=request.data)
        given.is_valid(raise_exception=True)
        said = given.validated_data
        hold = holds.place(
            actor=self.actor,
            tenant_id=self.tenant_id,
            user=said.get("user") or None,
            category=said["category"],
            case_reference=said["case"],
            type=said["type"],
            until=said.get("until"),
            confidential=said["confidential"],
            reason=said["reason"],
        )
        return Response(statements.brief_hold(hold), status=201)

    @extend_schema(request=shapes.Reason, responses=shapes.Hold)
    @action(detail=True, methods=["post"])
    def release(self, request: Request, pk: str) -> Response:
        """Asks for release or, as a second person, releases."""
        given = shapes.Reason(data=request.data)
        given.is_valid(raise_exception=True)
        hold = statements.visible_holds(self.actor).get(pk=pk, tenant_id=self.tenant_id)
        return Response(
            statements.brief_hold(
                holds.release(hold, actor=self.actor, reason=given.validated_data["reason"])
            )
        )


class Certificates(TokenView):
    """Certificates of the token's tenant."""

    queryset = Certificate.objects.none()
    serializer_class = shapes.Document
    lookup_value_regex = "dc-[a-z0-9]+"

    @extend_schema(operation_id="v1_certificates_list", responses=OBJECTS)
    def list(self, request: Request) -> Response:
        """In the order of their chain."""
        found = Certificate.objects.filter(request__tenant_id=self.tenant_id).order_by("number")
        return Response([_certificate(each) for each in found])

    @extend_schema(responses=OBJECT)
    def retrieve(self, request: Request, pk: str) -> Response:
        """Every file of one certificate, in base64."""
        found = Certificate.objects.get(pk=pk, request__tenant_id=self.tenant_id)
        files = {name: base64.b64encode(data).decode() for name, data in bundle.files(found).items()}
        return Response({**_certificate(found), "files": files})

    @extend_schema(responses=OBJECT)
    @action(detail=True, methods=["get"])
    def verify(self, request: Request, pk: str) -> Response:
        """Checks the stored files of one certificate: parts, signatures, signer, seal."""
        found = Certificate.objects.get(pk=pk, request__tenant_id=self.tenant_id)
        with TemporaryDirectory() as folder:
            problems = verification.verify(
                bundle.write(found, folder), trusted=[settings.SIGNING_FINGERPRINT]
            )
        findings = [{"part": str(each.part), "problem": each.sentence} for each in problems]
        return Response({"genuine": not findings, "findings": findings})


class Audit(TokenView):
    """The audit trail of the token's tenant."""

    queryset = AuditEvent.objects.none()
    serializer_class = shapes.Document

    @extend_schema(operation_id="v1_audit_list", responses=OBJECTS)
    def list(self, request: Request) -> Response:
        """The newest 500 events about the tenant; those of hidden holds are shown to legal only."""
        self._may()
        veil = statements.veil(self.actor)
        found = AuditEvent.objects.filter(tenant_id=self.tenant_id).order_by("-seq")[:500]
        return Response(
            [
                {
                    "seq": each.seq,
                    "at": each.at,
                    "actor": each.actor,
                    "verb": each.verb,
                    "case": each.case_id,
                    "hash": each.hash,
                }
                for each in found
                if not veil.covers(each)
            ]
        )

    @extend_schema(responses=OBJECT)
    @action(detail=False, methods=["get"])
    def verify(self, request: Request) -> Response:
        """Recomputes the whole chain."""
        self._may()
        problems = heads.verify()
        return Response({"whole": not problems, "problems": problems})

    def _may(self) -> None:
        if not self.actor.has(AUDITOR, COMPLIANCE, LEGAL):
            raise PermissionDenied("The audit trail is for auditors, compliance officers and legal.")


class Runs(TokenView):
    """Durable runs of the token's tenant."""

    queryset = Run.objects.none()
    serializer_class = shapes.Document
    lookup_value_regex = "run-[a-z0-9]+"
    scopes: ClassVar[dict[str, str]] = dict.fromkeys(("pause", "resume", "cancel", "retry"), S.RUN)

    def _shown(self) -> QuerySet[Run]:
        """Without what works on a hold that the token's owner may know nothing of."""
        hidden = statements.veil(self.actor).holds
        return Run.objects.filter(tenant_id=self.tenant_id).exclude(subject__in=hidden)

    def _one(self) -> Run:
        return self._shown().get(pk=self.kwargs["pk"])

    @extend_schema(operation_id="v1_runs_list", responses=OBJECTS)
    def list(self, request: Request) -> Response:
        """The newest 100."""
        return Response([progress.describe(each, steps=False) for each in self._shown()[:100]])

    @extend_schema(responses=OBJECT)
    def retrieve(self, request: Request, pk: str) -> Response:
        """One with its steps, rates and time left."""
        return Response(progress.describe(self._one()))

    @extend_schema(request=None, responses=OBJECT)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Starts no further slice."""
        return Response(progress.describe(runs.pause(self._one(), actor=self.actor)))

    @extend_schema(request=None, responses=OBJECT)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Takes up a paused or blocked run."""
        return Response(progress.describe(runs.resume(self._one(), actor=self.actor)))

    @extend_schema(request=None, responses=OBJECT)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Stops, undoes, ends as cancelled."""
        return Response(progress.describe(runs.cancel(self._one(), actor=self.actor)))

    @extend_schema(request=shapes.Lane, responses=OBJECT)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Tries failed steps again, all or those of one lane."""
        given = shapes.Lane(data=request.data)
        given.is_valid(raise_exception=True)
        lane = given.validated_data.get("lane")
        return Response(progress.describe(runs.retry(self._one(), actor=self.actor, lane=lane)))


def _certificate(each: Certificate) -> dict[str, Any]:
    return {
        "id": each.pk,
        "number": each.number,
        "request": each.request_id,
        "kind": each.kind,
        "issued_at": each.issued_at,
        "seal": each.seal_hash,
        "fingerprint": each.fingerprint,
    }
