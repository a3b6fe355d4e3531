"""What is read of the mesh, and of the asker, on behalf of one asker; all of it is recorded.

To find the Sidecar that applies, nothing is read of an asker's labels but whether a Sidecar selects them, so that all
to whom the same one applies share what is derived.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from model.asker import Asker, Capture
from model.gateways import Credential
from model.mesh import InboundPort, Mesh
from model.pods import ProxyKind
from model.services import Locality
from model.settings import MeshSettings, OutboundTraffic
from model.sidecars import Sidecar, SidecarChoice

Work: TypeAlias = Callable[[Any, Any], object]
"""A function of a view and a key, and of nothing else; always the same object."""
Key: TypeAlias = str | int | tuple[str, str] | tuple[Work, Hashable] | None
Reads: TypeAlias = Mapping[tuple[str, Key], object]
"""(what was asked, its argument) to the answer."""

SHARED = "shared"
"""The question that is answered with a `SharedPart`."""
_OF_THE_MESH = frozenset({"settings", "has_sidecars", "hosts", "ports", "gateways", "routed_hosts", "foreign_hosts"})
"""Questions without an argument."""


@dataclass(frozen=True, slots=True)
class SharedPart:
    """What some work came to, or what it raised, and which attributes of the asker it read."""

    value: object
    attributes: frozenset[str] = frozenset()
    error: Exception | None = None


Sharing: TypeAlias = Callable[[Work, Hashable], SharedPart]
"""Work and its key to the part, for one asker: the same object as long as it is equal."""


@dataclass(frozen=True, slots=True)
class RecordedReads:
    """Questions about one asker. Every answer, to these and to those of `View`, is recorded in `reads`."""

    _mesh: Mesh
    _asker: Asker
    reads: dict[tuple[str, Key], object]
    _unlimited: bool
    """There is no Sidecar at all. A field of its own, for it is asked with every question."""
    _found: dict[tuple[str, Key], object] = field(default_factory=dict)
    """Answers worked out of what was read."""
    _sharing: Sharing | None = None

    # Who asks

    @property
    def namespace(self) -> str:
        """The namespace of the asker."""
        return cast(str, self._ask("asker", "namespace"))

    @property
    def pod(self) -> str:
        return cast(str, self._ask("asker", "pod"))

    @property
    def kind(self) -> ProxyKind:
        """Whether a sidecar asks or a gateway."""
        return cast(ProxyKind, self._ask("asker", "kind"))

    @property
    def service_account(self) -> str:
        return cast(str, self._ask("asker", "service_account"))

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of the asker's pod."""
        return cast(Mapping[str, str], self._ask("asker", "labels"))

    @property
    def locality(self) -> Locality:
        return cast(Locality, self._ask("asker", "locality"))

    @property
    def address(self) -> str:
        """The asker's own address."""
        return cast(str, self._ask("asker", "address"))

    @property
    def application_address(self) -> str:
        return cast(str, self._ask("asker", "application_address"))

    @property
    def capture(self) -> Capture:
        return cast(Capture, self._ask("asker", "capture"))

    @property
    def vhds(self) -> bool:
        """Whether virtual hosts are sent apart from their route table."""
        return cast(bool, self._ask("asker", "vhds"))

    @property
    def on_demand(self) -> bool:
        """Whether the asker learns its destinations one by one, as its application asks for them."""
        return cast(bool, self._ask("asker", "on_demand"))

    @property
    def ipv6(self) -> bool:
        """Whether the asker's machine has IPv6."""
        return cast(bool, self._ask("asker", "ipv6"))

    @property
    def certificates(self) -> bool:
        """Whether the asker, a gRPC library, has a certificate at hand."""
        return cast(bool, self._ask("asker", "certificates"))

    @property
    def inbound_ports(self) -> tuple[InboundPort, ...]:
        """The ports that the asker's own pod declares, by number."""
        key = (self.namespace, self.pod)
        return cast(tuple[InboundPort, ...], self._ask("inbound_ports", key) or ())

    # What applies to it

    @property
    def sidecar(self) -> Sidecar | None:
        """The Sidecar that applies to the asker; None if there is none, and for a gateway."""
        if self._unlimited or self.kind is ProxyKind.GATEWAY:
            return None
        slot = ("sidecar", None)
        if slot not in self._found:
            self._found[slot] = self._find_sidecar()
        return cast(Sidecar | None, self._found[slot])

    def _find_sidecar(self) -> Sidecar | None:
        for choice in self._choices(self.namespace):
            if not choice.labels or self._ask("asker", choice.labels):
                return cast(Sidecar, self._ask("sidecars", (self.namespace, choice.name)))
        root = self.settings.root_namespace
        for choice in self._choices(root):
            if choice.labels is None:
                return cast(Sidecar, self._ask("sidecars", (root, choice.name)))
        return None

    def _choices(self, namespace: str) -> tuple[SidecarChoice, ...]:
        return cast(tuple[SidecarChoice, ...], self._ask("sidecar_choices", namespace) or ())

    @property
    def _limit(self) -> Sidecar | None:
        """The Sidecar, if anything is out of its scope."""
        if self._unlimited:
            return None
        sidecar = self.sidecar
        return sidecar if sidecar is not None and sidecar.is_limiting else None

    @property
    def outbound_traffic(self) -> OutboundTraffic:
        """What happens to destinations that the asker does not know."""
        sidecar = self.sidecar
        own = sidecar.outbound_traffic if sidecar is not None else None
        return self.settings.outbound_traffic if own is None else own

    @property
    def settings(self) -> MeshSettings:
        return cast(MeshSettings, self._ask("settings", None))

    def _ask(self, question: str, key: Key) -> object:
        slot = (question, key)
        if slot in self.reads:
            return self.reads[slot]
        found = answer(self._mesh, self._asker, question, key)
        self.reads[slot] = found
        return found


def still_holds(reads: Reads, mesh: Mesh, asker: Asker, sharing: Sharing | None = None) -> bool:
    """Whether every question in `reads` has the same answer for this mesh and this asker."""
    for (question, key), then in reads.items():
        if question == SHARED and sharing is not None:
            now: object = sharing(*cast(tuple[Work, Hashable], key))
        else:
            now = answer(mesh, asker, question, key)
        if now is not then and now != then:
            return False
    return True


def answer(mesh: Mesh, asker: Asker, question: str, key: Key) -> object:
    """What `_ask` answers: of the asker, of the whole mesh, or of a mapping of the mesh by its name."""
    if question == "asker":
        return asker.attribute(cast(str, key))
    if question in _OF_THE_MESH:
        return getattr(mesh, question)
    found = getattr(mesh, question).get(key)
    # Whether there is one is all that a resource may depend on: the key itself is in no record.
    return isinstance(found, Credential) if question == "credentials" else found
