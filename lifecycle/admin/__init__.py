"""The desks of the executing side; importing this registers them."""

from lifecycle.admin import datamaps, migrations, queue, requests, runs, tenants

__all__ = ["datamaps", "migrations", "queue", "requests", "runs", "tenants"]
