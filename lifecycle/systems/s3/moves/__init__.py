"""Objects of a tenant from one region's bucket to the other's, every version in its order."""
