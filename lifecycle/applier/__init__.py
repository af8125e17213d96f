"""Carries changed objects and vectors from the owner's region to the other, by the outbox."""
