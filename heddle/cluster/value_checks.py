"""What of the chart's values makes no sense, where its schema cannot say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

from injector.quantities import parse_quantity
from sds.certificate_policy import LONGEST_LIFE, SHORTEST_LIFE
from sources.durations import parse_duration
from sources.kubernetes_names import is_dns_name


def find_value_faults(values: Mapping[str, Any]) -> Iterator[str]:
    """One sentence each, with the value's path and what it must be. `values` are as the schema has them."""
    yield from _resource_faults(values.get("resources") or {})
    yield from _sidecar_resource_faults((values.get("injection") or {}).get("resources") or {})
    name = values.get("priorityClassName", "")
    if name and not is_dns_name(name):
        yield f"priorityClassName is {name!r}, which is no name of a PriorityClass: `kubectl get priorityclasses`"
    yield from _life_faults(values.get("certificateLife"))
    yield from _scaling_faults(values.get("autoscaling") or {})
    for index, text in enumerate((values.get("networkPolicy") or {}).get("apiServerCIDRs") or ()):
        try:
            ip_network(text, strict=False)
        except ValueError:
            yield f"networkPolicy.apiServerCIDRs[{index}] is {text!r}, which is no CIDR such as 10.0.0.0/24"


def _resource_faults(resources: Mapping[str, Any]) -> Iterator[str]:
    amounts: dict[tuple[str, str], Decimal] = {}
    for part in ("requests", "limits"):
        for name, written in (resources.get(part) or {}).items():
            path = f"resources.{part}.{name}"
            try:
                amounts[part, name] = _quantity(written)
            except ValueError:
                yield f"{path} is {written!r}, which is no quantity such as 500m or 256Mi"
    for (part, name), amount in amounts.items():
        if part == "requests" and amount > amounts.get(("limits", name), amount):
            yield f"resources.requests.{name} is more than resources.limits.{name}: give it at most that"


def _sidecar_resource_faults(resources: Mapping[str, Any]) -> Iterator[str]:
    for name in ("cpu", "memory"):
        asked, limit = resources.get(name), resources.get(f"{name}Limit")
        if asked and limit and _quantity(asked) > _quantity(limit):
            yield f"injection.resources.{name} is more than injection.resources.{name}Limit: give it at most that"


def _quantity(written: object) -> Decimal:
    """Raises ValueError. Kubernetes takes numbers too."""
    if isinstance(written, bool) or not isinstance(written, str | int | float):
        raise ValueError("neither text nor a number")
    return parse_quantity(str(written))


def _life_faults(text: str | None) -> Iterator[str]:
    if text is None:
        return
    must = "certificateLife must be a span from 10s to 2160h (90 days)"
    try:
        life = parse_duration(text)
    except ValueError:
        yield f"{must}, not {text!r}"
        return
    if not SHORTEST_LIFE <= life <= LONGEST_LIFE:
        yield f"{must}, not {text}"


def _scaling_faults(scaling: Mapping[str, Any]) -> Iterator[str]:
    least, most = scaling.get("minReplicas"), scaling.get("maxReplicas")
    if scaling.get("enabled") and least is not None and most is not None and least > most:
        yield f"autoscaling.minReplicas is {least}, which is more than autoscaling.maxReplicas ({most})"
