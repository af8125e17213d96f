"""Receivers: what lifecycle does when compliance has decided."""
