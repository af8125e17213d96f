"""The requester's mail: the seven files, and the salt that shows whom the certificate is about."""

from __future__ import annotations

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string

from compliance.certificate import bundle, wording
from compliance.models import Certificate

_TYPES = {".pdf": "application/pdf", ".json": "application/json"}


def compose(certificate: Certificate, to: str, salt: bytes | None) -> EmailMessage:
    """The mail with all seven files. The same certificate always has the same message id."""
    request, title = certificate.request, wording.TITLES[certificate.kind]
    context = {
        "certificate": certificate,
        "request": request,
        "title": title,
        "salt": salt.hex() if salt else "",
    }
    message = EmailMessage(
        f"{title} {certificate.pk} (request {request.pk})",
        render_to_string("certificate/mail.txt", context),
        settings.DEFAULT_FROM_EMAIL,
        [to],
        headers={
            "Message-ID": f"<{certificate.pk}@{settings.DEFAULT_FROM_EMAIL.rpartition('@')[2].rstrip('>')}>"
        },
    )
    for name, data in bundle.files(certificate).items():
        ending = name[name.rfind(".") :]
        message.attach(
            name,
            data,
            _TYPES.get(
                ending, "application/pgp-signature" if name != "public.asc" else "application/pgp-keys"
            ),
        )
    return message
