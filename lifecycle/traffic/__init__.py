"""Which region serves which share of a tenant's requests: load balancers behind one interface. No Django here."""
