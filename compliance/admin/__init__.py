"""The desks of the judging side; importing this registers them."""

from compliance.admin import audits, certificates, holds, people, retention

__all__ = ["audits", "certificates", "holds", "people", "retention"]
