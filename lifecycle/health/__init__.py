"""Is a region well enough for a tenant: measured, judged, never assumed. No Django here."""
