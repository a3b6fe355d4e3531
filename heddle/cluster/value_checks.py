"""What of the chart's values makes no sense, where its schema cannot say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

from heddle.serve import SHED
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
    yield from _budget_faults(values)
    yield from _grace_faults(values.get("preStopSeconds"), values.get("terminationGracePeriodSeconds"))
    yield from _address_faults(values.get("bindAddress"))
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


def _budget_faults(values: Mapping[str, Any]) -> Iterator[str]:
    """A budget that leaves no replica to evict keeps every node of theirs from being drained."""
    budget, scaling = values.get("podDisruptionBudget") or {}, values.get("autoscaling") or {}
    name, least = "replicas", values.get("replicas")
    if scaling.get("enabled"):
        name, least = "autoscaling.minReplicas", scaling.get("minReplicas")
    elif least == 1:
        # None is made.
        return
    kept = budget.get("minAvailable")
    if budget.get("enabled") and least is not None and kept is not None and kept >= least:
        yield (
            f"podDisruptionBudget.minAvailable is {kept}, and {name} is {least}: no node with a replica could be "
            f"drained; give {name} at least {kept + 1}, or minAvailable less, or podDisruptionBudget.enabled: false"
        )


def _grace_faults(waits: int | None, grace: int | None) -> Iterator[str]:
    if waits is None or grace is None:
        return
    shed = round(SHED.total_seconds())
    if waits + shed >= grace:
        yield (
            f"terminationGracePeriodSeconds is {grace}, and {waits} s of preStopSeconds and {shed} s in which sidecars "
            f"are handed over have to fit in: give it at least {waits + shed + 1}, or shorten preStopSeconds"
        )


def _address_faults(text: str | None) -> Iterator[str]:
    if text is None:
        return
    try:
        IPv6Address(text[1:-1]) if text.startswith("[") else IPv4Address(text)
    except ValueError:
        yield f"bindAddress is {text!r}, which is no address such as 0.0.0.0 or [::]"
