"""The desk of certificates: what was proven, the files, the escrowed salt."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from compliance.actions import certifying, handing_out
from compliance.admin.desk import Desk, actor_of
from compliance.certificate import bundle
from compliance.certificate.parts import PUBLIC_KEY
from compliance.errors import Refused
from compliance.models import Certificate, SaltEscrow
from compliance.templatetags.desks import badge, when

_TYPES = {".pdf": "application/pdf", ".json": "application/json", ".asc": "application/pgp-signature"}
_WORDS = (
    (".pdf", "PDF", "what a lawyer files"),
    (".json", "JSON", "the document itself"),
    (".seal.json", "Seal", "hashes of both and of the certificate before"),
    (".pdf.asc", "Signature of the PDF", ""),
    (".json.asc", "Signature of the JSON", ""),
    (".seal.json.asc", "Signature of the seal", ""),
)


@admin.register(Certificate)
class CertificateDesk(Desk):
    """Certificates, addenda, corrections. Never edited."""

    list_display = ("id", "number", "kind", "for_request", "issued", "stored", "delivered")
    list_filter = ("kind",)
    search_fields = ("id", "request__id", "request__tenant__id")
    ordering = ("-number",)
    page_template = "compliance/certificate.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Certificate]:
        every: QuerySet[Certificate] = super().get_queryset(request)
        return every.select_related("request").defer("pdf")

    def more_urls(self, name: str) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [path("<path:object_id>/files/<str:file_name>", wrap(self.download_view), name=f"{name}_file")]

    def context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        viewer = actor_of(request)
        escrow = SaltEscrow.objects.select_related("asked_by", "opened_by").filter(certificate=row).first()
        names = [(f"{row.pk}{ending}", word, hint) for ending, word, hint in _WORDS]
        return {
            "refused": handing_out.check_hand_out(actor=viewer),
            "files": [*names, (PUBLIC_KEY, "Public key", "to verify all three")],
            "document": json.loads(bytes(row.document)),
            "escrow": escrow,
            "ask_reasons": certifying.check_ask_salt(row, actor=viewer),
            "open_reasons": certifying.check_open_salt(escrow, actor=viewer) if escrow else [],
        }

    def verbs(self) -> dict[str, Callable[[HttpRequest, Any], str | HttpResponseBase | None]]:
        return {"ask_salt": self.ask_salt, "open_salt": self.open_salt}

    def ask_salt(self, request: HttpRequest, row: Certificate) -> str:
        """The first of two people."""
        certifying.ask_salt(row, actor=actor_of(request))
        return "Asked. Another person can open it now."

    def open_salt(self, request: HttpRequest, row: Certificate) -> HttpResponseBase:
        """The second of two people sees it once."""
        escrow = SaltEscrow.objects.filter(certificate=row).first()
        if escrow is None:
            raise Refused(f"No salt of certificate {row.pk} is in escrow.")
        salt = certifying.open_salt(escrow, actor=actor_of(request))
        return self.show(
            request, self.page_template, str(row), row, {**self.context(request, row), "salt": salt}
        )

    def download_view(self, request: HttpRequest, object_id: str, file_name: str) -> HttpResponse:
        """One file of a certificate, for roles that may hand out the proof; audited."""
        row = self.row(request, object_id)
        if handing_out.check_hand_out(actor=actor_of(request)):
            raise PermissionDenied
        data = bundle.files(row).get(file_name)
        if data is None:
            raise Http404("The certificate has no such file.")
        handing_out.hand_out(row, actor=actor_of(request), file_name=file_name)
        ending = file_name[file_name.rfind(".") :]
        response = HttpResponse(data, content_type=_TYPES.get(ending, "application/octet-stream"))
        response["Content-Disposition"] = f'attachment; filename="{file_name}"'
        response["Cache-Control"] = "no-store"
        return response

    @admin.display(description="request", ordering="request")
    def for_request(self, row: Certificate) -> SafeString:
        url = reverse("admin:compliance_erasurerequest_change", args=[row.request_id])
        return format_html('<a href="{}">{}</a>', url, row.request_id)

    @admin.display(description="issued", ordering="issued_at")
    def issued(self, row: Certificate) -> str:
        return when(row.issued_at)

    @admin.display(description="locked bucket")
    def stored(self, row: Certificate) -> SafeString:
        return badge("done" if row.stored_at else "waiting", "stored" if row.stored_at else "not yet")

    @admin.display(description="mail")
    def delivered(self, row: Certificate) -> SafeString:
        return badge("done" if row.delivered_at else "waiting", "sent" if row.delivered_at else "not yet")
