"""A local Datadog for the official client: log and RUM intake, search, metrics, and the Data Deletion API."""
