"""The names of a mesh: what a cluster's DNS knows, as one immutable table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Final

Address = IPv4Address | IPv6Address

_LONGEST_CHAIN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedService:
    """What DNS says about one Service.

    `addresses` are its own, or for a headless one those of its ready pods. `pods` maps the hostname of a pod of a
    StatefulSet to its addresses, found under `hostname.service...`. `external_name` makes it an alias instead.
    """

    namespace: str
    name: str
    addresses: tuple[Address, ...] = ()
    pods: Mapping[str, tuple[Address, ...]] = field(default_factory=lambda: MappingProxyType({}))
    external_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NameTable:
    """Full lower-case names, without the last dot, to addresses or to the name each is an alias of."""

    domain: str = "cluster.local"
    addresses: Mapping[str, tuple[Address, ...]] = field(default_factory=lambda: MappingProxyType({}))
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The name exists; `through` are the names its aliases led to, the last of which has the `addresses` (if any)."""

    through: tuple[str, ...]
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """The name belongs to the mesh and does not exist; `through` as for `Found`."""

    through: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The name, reached by the aliases `through` (itself the last, if any), is the world's to know."""

    through: tuple[str, ...]
    name: str


Lookup = Found | Missing | Outside


def build_name_table(services: Iterable[NamedService], *, domain: str = "cluster.local") -> NameTable:
    """The table that resolves these Services in the cluster domain `domain`."""
    addresses: dict[str, tuple[Address, ...]] = {}
    aliases: dict[str, str] = {}
    for service in services:
        name = f"{service.name}.{service.namespace}.svc.{domain}".lower()
        if service.external_name is not None:
            aliases[name] = service.external_name.rstrip(".").lower()
            continue
        addresses[name] = service.addresses
        for hostname, own in service.pods.items():
            addresses[f"{hostname}.{name}".lower()] = own
    return NameTable(domain=domain, addresses=MappingProxyType(addresses), aliases=MappingProxyType(aliases))


def look_up(table: NameTable, name: str) -> Lookup:
    """Find a name, which has no last dot, in any case of letters.

    One-label names and the names of addresses (`in-addr.arpa`, `ip6.arpa`) never leave the mesh: they are asked by
    habit, and asking the world for them only takes time.
    """
    through: list[str] = []
    current = name.lower()
    while current in table.aliases:
        current = table.aliases[current]
        through.append(current)
        if len(through) > _LONGEST_CHAIN:
            return Missing(through=())
    if current in table.addresses:
        return Found(through=tuple(through), addresses=table.addresses[current])
    ours = f".{current}".endswith((f".{table.domain}", ".in-addr.arpa", ".ip6.arpa"))
    if ours or "." not in current:
        return Missing(through=tuple(through))
    return Outside(through=tuple(through), name=current)
