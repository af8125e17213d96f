"""Durable runs on django-q2: tasks carry an id, our rows decide. Knows no workflow."""
