"""Vectors of a tenant from one region's index to the other's."""
