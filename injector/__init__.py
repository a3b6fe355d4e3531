"""Injection: which pods get a sidecar, what is added to them, and the webhook that adds it."""
