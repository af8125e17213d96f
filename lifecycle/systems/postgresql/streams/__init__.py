"""A tenant's rows move between two PostgreSQL databases: prepared, copied, followed both ways, compared, mended, cleaned."""
