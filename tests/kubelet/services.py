"""What kube-proxy and the cluster's DNS know: Services and the endpoints behind them, as the API has them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from heddle.local.names import NamedService, NameTable, build_name_table
from heddle.local.service_proxy import Endpoint, ServicePort

Json = Mapping[str, Any]
_SERVICE_NAME: Final = "kubernetes.io/service-name"


class ServiceTables:
    """Services and EndpointSlices by key."""

    def __init__(self) -> None:
        self._services: dict[str, Json] = {}
        self._slices: dict[str, Json] = {}

    def put_service(self, key: str, item: Json | None) -> None:
        _put(self._services, key, item)

    def put_slice(self, key: str, item: Json | None) -> None:
        _put(self._slices, key, item)

    def cluster_address(self, key: str) -> str:
        """The address of a Service, '' if there is none."""
        return str(((self._services.get(key) or {}).get("spec") or {}).get("clusterIP") or "")

    def ports(self) -> tuple[ServicePort, ...]:
        """Every TCP or UDP port of every cluster address, with where it leads."""
        behind = self._by_service()
        found = []
        for key, service in self._services.items():
            spec = service["spec"]
            for address in map(ip_address, _cluster_addresses(spec)):
                for port in spec.get("ports") or ():
                    protocol = port.get("protocol", "TCP").lower()
                    if protocol not in ("tcp", "udp"):
                        continue
                    found.append(
                        ServicePort(
                            address=address,
                            port=port["port"],
                            protocol="udp" if protocol == "udp" else "tcp",
                            endpoints=_endpoints(behind[key], port.get("name") or "", address.version),
                        )
                    )
        return tuple(found)

    def names(self) -> NameTable:
        """Every Service by name: to its addresses, to its pods' where it is headless, to another name."""
        behind = self._by_service()
        return build_name_table(_named(key, service, behind[key]) for key, service in self._services.items())

    def _by_service(self) -> defaultdict[str, list[Json]]:
        found: defaultdict[str, list[Json]] = defaultdict(list)
        for each in self._slices.values():
            name = (each["metadata"].get("labels") or {}).get(_SERVICE_NAME)
            if name:
                found[f"{each['metadata']['namespace']}/{name}"].append(each)
        return found


def _put(held: dict[str, Json], key: str, item: Json | None) -> None:
    if item is None:
        held.pop(key, None)
    else:
        held[key] = item


def _cluster_addresses(spec: Json) -> tuple[str, ...]:
    return tuple(address for address in spec.get("clusterIPs") or () if address and address != "None")


def _endpoints(slices: Iterable[Json], port_name: str, version: int) -> tuple[Endpoint, ...]:
    """The ready ones; if there is none, those that end but still serve. Source: KEP-1669."""
    ready, leaving = [], []
    for each in slices:
        number = next((p["port"] for p in each.get("ports") or () if (p.get("name") or "") == port_name), None)
        for endpoint in each.get("endpoints") or ():
            address = ip_address(endpoint["addresses"][0])
            if number is None or address.version != version:
                continue
            conditions = endpoint.get("conditions") or {}
            if conditions.get("ready", True):
                ready.append(Endpoint(address=address, port=number))
            elif conditions.get("serving") and conditions.get("terminating"):
                leaving.append(Endpoint(address=address, port=number))
    return tuple(ready or leaving)


def _named(key: str, service: Json, slices: Iterable[Json]) -> NamedService:
    namespace, _, name = key.partition("/")
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return NamedService(namespace=namespace, name=name, external_name=spec["externalName"])
    addresses = tuple(map(ip_address, _cluster_addresses(spec)))
    if addresses:
        return NamedService(namespace=namespace, name=name, addresses=addresses)
    ready: list[IPv4Address | IPv6Address] = []
    pods: defaultdict[str, list[IPv4Address | IPv6Address]] = defaultdict(list)
    for each in slices:
        for endpoint in each.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready", True):
                ready += map(ip_address, endpoint["addresses"])
                if endpoint.get("hostname"):
                    pods[endpoint["hostname"]] += map(ip_address, endpoint["addresses"])
    by_hostname = {hostname: tuple(found) for hostname, found in pods.items()}
    return NamedService(namespace=namespace, name=name, addresses=tuple(ready), pods=by_hostname)
