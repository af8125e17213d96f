"""The PDF is a rendering: reproducible, self-contained, with the JSON inside, and nothing fetched."""

from __future__ import annotations

import io
import subprocess
from typing import Any

import pikepdf
import pytest
from weasyprint import HTML

from compliance.certificate import canonical, document, rendering
from tests.compliance.certificate import samples
from tests.compliance.certificate.making import identity


def text_of(pdf: bytes) -> str:
    done = subprocess.run(["pdftotext", "-layout", "-", "-"], input=pdf, capture_output=True, check=True)
    return " ".join(done.stdout.decode().split())


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/x.png", "file:///etc/hostname", "ftp://127.0.0.1:9/x"]
)
def test_an_address_outside_the_bundle_is_refused(address: str) -> None:
    page = HTML(
        string=f'<img src="{address}">', base_url=f"{rendering.TEMPLATES}/", url_fetcher=rendering._Bundled()
    )
    with pytest.raises(rendering.RefusedAddress):
        page.write_pdf()


MARKUP = '<img src="http://127.0.0.1:9/x.png"> & <b>bold</b>'


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    evidence = samples.partial()
    evidence["timeline"][1]["what"] = MARKUP
    return document.build(evidence, identity(number=12))


@pytest.fixture(scope="module")
def pdf(made: dict[str, Any]) -> bytes:
    return rendering.render(made)


def test_markup_in_evidence_stays_text(pdf: bytes) -> None:
    assert MARKUP in text_of(pdf)


def test_the_same_document_gives_the_same_bytes_with_the_json_inside(
    made: dict[str, Any], pdf: bytes
) -> None:
    assert rendering.render(made) == pdf
    with pikepdf.open(io.BytesIO(pdf)) as read:
        (name, spec), *others = read.attachments.items()
        assert (name, others) == (f"{made['id']}.json", [])
        assert spec.get_file().read_bytes() == canonical.encode(made)
        metadata = read.open_metadata()
        assert (metadata["pdfaid:part"], metadata["pdfaid:conformance"]) == ("3", "B")
        assert [float(side) for side in read.pages[0].mediabox[2:]] == pytest.approx([595.3, 841.9], abs=0.5)


def test_a_reader_finds_every_part(made: dict[str, Any], pdf: bytes) -> None:
    text = text_of(pdf)
    for wanted in (
        "Certificate of Erasure", "Northwind Retrieval GmbH", "acme", "er-7k2m9qpxw4", "Art. 17(1)(b): consent withdrawn",
        "2 December 2026, 08:14 UTC", "compliance officer", "legal hold (litigation)", "§ 147(3) AO", "2033-12-31",
        "not erased: locked until 2028-05-01", "logically deleted, provider purge by 2027-02-23", "pinecone".title(),
        "personal data key", "27 random markers", "214 groups unchanged", "How to verify", "no legal advice", "Page 1 of",
    ):  # fmt: skip
        assert wanted in text, wanted
    squeezed = text.replace(" ", "")
    for digest in (
        canonical.sha256(canonical.encode(made)),
        made["previous_seal"],
        made["signing_key"],
        samples.digest("plan"),
    ):
        assert digest in squeezed


def test_an_addendum_has_its_own_page() -> None:
    given = {
        "request": {"id": "er-7k2m9qpxw4", "tenant": "acme"}, "as_of": "2027-02-24T00:00:00Z", "software": "x",
        "statement": "What a provider still kept is gone.",
        "closed": [{"system": "pinecone", "environment": "acme/us-east-1", "until": samples.PURGE, "observed_at": samples.PURGE, "how": "The date has passed."}],
    }  # fmt: skip
    refers = {"id": "dc-0000000001", "number": 1, "seal": "cd" * 32}
    made = document.build_closing(given, identity(number=2, kind="addendum", refers_to=refers))
    text = text_of(rendering.render(made))
    assert "Addendum to a Certificate of Erasure" in text
    assert "dc-0000000001" in text
    assert "The date has passed." in text
