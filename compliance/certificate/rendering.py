"""The PDF: a rendering of the document, with the document attached. The same document gives the same bytes."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from django.template.loader import render_to_string
from weasyprint import HTML, Attachment
from weasyprint.urls import FatalURLFetchingError, URLFetcher

from compliance.certificate import canonical, wording

TEMPLATES = Path(__file__).resolve().parent.parent.parent / "templates" / "certificate"
_ENVIRONMENT = threading.Lock()


class RefusedAddress(FatalURLFetchingError):  # type: ignore[misc]
    """The page asked for something outside the bundled folder, which would make its bytes depend on the network."""


class _Bundled(URLFetcher):  # type: ignore[misc]
    """Fetches files of templates/certificate and nothing else."""

    def fetch(self, url: str, headers: Any = None) -> Any:
        if not url.startswith("file://") or not Path(url[7:]).resolve().is_relative_to(TEMPLATES):
            raise RefusedAddress(
                "A certificate is rendered from bundled files only. Remove the reference to another address."
            )
        return super().fetch(url, headers)


def render(document: Mapping[str, Any]) -> bytes:
    """The PDF/A-3b of `document` (A4, tagged), its canonical JSON attached as `<id>.json`."""
    data = canonical.encode(document)
    name = f"{document['id']}.json"
    issued = datetime.fromisoformat(document["issued_at"])
    attached = Attachment(
        string=data.decode(),
        name=name,
        description="The certificate: canonical JSON (RFC 8785)",
        created=issued,
        modified=issued,
        relationship="Source",
    )
    with _fixed_clock(issued):
        page = HTML(string=_page(document, data), base_url=f"{TEMPLATES}/", url_fetcher=_Bundled())
        made: bytes = page.write_pdf(
            pdf_variant="pdf/a-3b",
            pdf_tags=True,
            pdf_identifier=hashlib.sha256(data).hexdigest()[:32].encode(),
            attachments=[attached],
            full_fonts=False,
        )
    return made


def _page(document: Mapping[str, Any], data: bytes) -> str:
    lines = document.get("lines") or []
    context = {
        "c": document,
        "title": wording.TITLES[document["kind"]],
        "regime": wording.REGIMES.get(document["request"].get("regime", ""), ""),
        "ground": wording.ground(document["request"]),
        "systems": len({line["system"] for line in lines}),
        "places": len({line["environment"] for line in lines}),
        "totals": {
            name: sum(line[name] for line in lines)
            for name in ("found", "erased", "anonymised", "retained", "residue")
        },
        "json_sha256": canonical.sha256(data),
        "shapes": sorted((document.get("canaries") or {}).get("by_shape", {}).items()),
    }
    return render_to_string("certificate/certificate.html", context)


@contextmanager
def _fixed_clock(issued: datetime) -> Iterator[None]:
    """WeasyPrint dates a PDF by SOURCE_DATE_EPOCH, an environment variable of the whole process: one render at a time."""
    with _ENVIRONMENT:
        before = os.environ.get("SOURCE_DATE_EPOCH")
        os.environ["SOURCE_DATE_EPOCH"] = str(int(issued.timestamp()))
        try:
            yield
        finally:
            if before is None:
                del os.environ["SOURCE_DATE_EPOCH"]
            else:
                os.environ["SOURCE_DATE_EPOCH"] = before
