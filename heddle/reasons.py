"""Envoy's own words on a rejection, without the copy of the whole resource that it puts before them."""

from __future__ import annotations


def concise(reason: str) -> str:
    """What is wrong, on one line. Envoy 1.40 writes a copy of the resource, then `\\n: ` and the error."""
    _, separator, error = reason.rpartition("\n: ")
    return " ".join((error if separator else reason).split())
