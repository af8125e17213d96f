"""The desks of the executing side; importing this registers them."""

from lifecycle.admin import datamaps, queue, requests, runs, tenants

__all__ = ["datamaps", "queue", "requests", "runs", "tenants"]
