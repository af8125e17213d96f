"""The sample platform as an HTTP service, one process a region: documents in, answers out, while tenants move."""
