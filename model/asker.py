"""Who asks for a resource: only what can matter for what they get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from model.pods import ProxyKind
from model.services import Locality


class Capture(StrEnum):
    """How traffic reaches the sidecar. REDIRECT: by iptables, with its original destination. EXPLICIT: the
    application calls an HTTP proxy, and each inbound port is a listener of its own (the loopback mode)."""

    REDIRECT = "redirect"
    EXPLICIT = "explicit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """A sidecar or a gateway (`kind`), as far as resources depend on it.

    `address` is the workload's own; `application_address` is where the application listens (EXPLICIT only, else '').
    `vhds`: route tables come without their virtual hosts, which are asked for by VHDS (delta streams); else joined.
    `on_demand`: destinations are sent once the application has asked for them (docs/on-demand.md); else all in scope.
    `ipv6`: the sidecar's machine has IPv6, so that listeners can take both families.
    `certificates`: a gRPC library has a key and a certificate of its pod in files, so that it can speak mutual TLS.
    """

    namespace: str
    pod: str
    service_account: str
    kind: ProxyKind = ProxyKind.SIDECAR
    labels: Mapping[str, str] = field(default_factory=dict)
    locality: Locality = field(default_factory=Locality)
    address: str = ""
    capture: Capture = Capture.REDIRECT
    application_address: str = ""
    vhds: bool = True
    on_demand: bool = False
    ipv6: bool = True
    certificates: bool = False

    def attribute(self, name: str) -> object:
        """What a `View` may read of an asker: a field by its name, or whether its pod has all of some labels
        (`app=web,version=v1`)."""
        if "=" not in name:
            return getattr(self, name)
        return all(self.labels.get(key) == value for key, _, value in (each.partition("=") for each in name.split(",")))
