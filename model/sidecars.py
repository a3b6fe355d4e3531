"""What a workload may call: the Sidecar kind. Source: Istio's kind of that name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from model.host_patterns import covers, patterns
from model.names import host_namespace
from model.problems import ObjectRef
from model.services import Protocol
from model.settings import OutboundTraffic

ANY_NAMESPACE = "*"
OWN_NAMESPACE = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressHost:
    """One of `egress[].hosts`: hosts of the objects of a namespace, or, if `excluded`, hosts that are left out.

    `namespace` is a name, `*` (any) or `.` (the asker's own); `host` a host in lower case, `*.` before one, or `*`.
    """

    namespace: str
    host: str
    excluded: bool = False

    @property
    def is_everything(self) -> bool:
        """`*/*`."""
        return (self.namespace, self.host, self.excluded) == (ANY_NAMESPACE, "*", False)

    def owner(self, asker_namespace: str) -> str:
        """The namespace that is meant, `*` for any."""
        return asker_namespace if self.namespace == OWN_NAMESPACE else self.namespace

    def is_of(self, namespace: str, asker_namespace: str) -> bool:
        """Whether objects of `namespace` are meant."""
        return self.owner(asker_namespace) in (ANY_NAMESPACE, namespace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """One entry of `egress`: what may be called at `port`; None: at every port that has no entry of its own.

    `index` is its place in `egress`, and the hosts are all that stand there, in their order.
    `protocol` is what the entry says of its port, None for nothing. It has no effect: each Service says it for itself.
    """

    index: int = 0
    hosts: tuple[EgressHost, ...]
    port: int | None = None
    protocol: Protocol | None = None
    _by_pattern: Mapping[str, tuple[EgressHost, ...]] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        found: dict[str, list[EgressHost]] = {}
        for each in self.hosts:
            found.setdefault(each.host, []).append(each)
        object.__setattr__(self, "_by_pattern", {host: tuple(listed) for host, listed in found.items()})

    @property
    def is_everything(self) -> bool:
        """Whether it names all there is."""
        return any(each.is_everything for each in self.hosts) and not any(each.excluded for each in self.hosts)

    def covering(self, host: str) -> Iterator[EgressHost]:
        """Those of its hosts that cover a host, the most specific first."""
        for pattern in patterns(host):
            yield from self._by_pattern.get(pattern, ())

    def names(self, host: str, owner: str, asker_namespace: str) -> bool:
        """Whether the service `host` of the namespace `owner` is one of its hosts."""
        found = False
        for each in self.covering(host):
            if each.is_of(owner, asker_namespace):
                if each.excluded:
                    return False
                found = True
        return found

    def brings(self, hosts: Iterable[str], owner: str, asker_namespace: str) -> bool:
        """Whether a VirtualService of the namespace `owner` for these hosts is in scope: one of them has to be.

        A wildcard on either side may be the wider one.
        """
        return any(self._brings(host, owner, asker_namespace) for host in hosts)

    def _brings(self, host: str, owner: str, asker_namespace: str) -> bool:
        covering = [each for each in self.covering(host) if each.is_of(owner, asker_namespace)]
        if covering:
            return not any(each.excluded for each in covering)
        if not host.startswith("*"):
            return False
        covered = (each for each in self.hosts if not each.excluded and covers(host, each.host))
        return any(each.is_of(owner, asker_namespace) for each in covered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """`selector` None: for every workload of its namespace or, in the root namespace, of each namespace that has no
    Sidecar for the workload; else for those workloads of its namespace that have all the labels.

    `egress` None: everything may be called. `outbound_traffic` None: as the mesh's settings say. What in an object
    Heddle does not do yet is not in here. `created` as with VirtualService.
    """

    ref: ObjectRef
    selector: Mapping[str, str] | None = None
    egress: tuple[Egress, ...] | None = None
    outbound_traffic: OutboundTraffic | None = None
    created: datetime | None = None

    @property
    def is_limiting(self) -> bool:
        """Whether anything is out of scope."""
        return self.egress is not None and not (len(self.egress) == 1 and self._takes_all(self.egress[0]))

    def entry(self, port: int) -> Egress | None:
        """The one entry that counts at a port, None if nothing may be called there. Not for `egress` None."""
        found = None
        for each in self.egress or ():
            if each.port == port:
                return each
            if each.port is None:
                found = each
        return found

    def declares(self, host: str, namespace_of_asker: str) -> bool:
        """Whether an entry names the host, and not just everything (`*/*`).

        `host` is fully qualified. One that is no Service's has no namespace in it; a pattern of its own must name it.
        """
        owner = host_namespace(host)
        return any(self._declared_by(each, host, owner, namespace_of_asker) for each in self.egress or ())

    @staticmethod
    def _declared_by(entry: Egress, host: str, owner: str, asker_namespace: str) -> bool:
        found = False
        for each in entry.covering(host):
            if each.is_everything or (owner and not each.is_of(owner, asker_namespace)):
                continue
            if each.excluded and (owner or each.namespace == ANY_NAMESPACE):
                return False
            found = found or (not each.excluded and (bool(owner) or each.host != "*"))
        return found

    @staticmethod
    def _takes_all(entry: Egress) -> bool:
        return entry.port is None and entry.is_everything


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarChoice:
    """A Sidecar of a namespace and whom it is for: `labels` as `KEY=VALUE,...`, '' for all, None without a selector."""

    name: str
    labels: str | None


def to_label_text(selector: Mapping[str, str]) -> str:
    """Labels as one text, sorted: `app=web,version=v1`. No key or value has a `=` or a `,`."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
