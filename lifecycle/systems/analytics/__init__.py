"""Prometheus series and Datadog logs."""
