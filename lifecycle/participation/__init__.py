"""What an application imports to take part in moves: whose writes count where, and the outbox. No Django here."""

from lifecycle.participation.installing import install

__all__ = ["install"]
