"""Pods to inject."""

from __future__ import annotations

from typing import Any


def pod(
    *,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    containers: list[dict[str, Any]] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A pod named `web-1` with one container named `app`, unless others are given."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web-1",
            "namespace": "shop",
            "labels": {"app": "web", **(labels or {})},
            "annotations": annotations or {},
        },
        "spec": {"containers": containers or [{"name": "app", "image": "web:1"}], **spec},
    }
