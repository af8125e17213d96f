"""Backup archives: a first simple catalogue in a bucket, each person's part sealed under that person's own key."""
