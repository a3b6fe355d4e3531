"""What a workload takes on each of its ports: a protocol, a mode of mutual TLS, and where it goes from here."""

from __future__ import annotations

from dataclasses import dataclass

from model.names import INBOUND_PASSTHROUGH_CLUSTER, InboundCluster
from model.policies import MtlsMode
from model.services import Protocol
from model.view import View
from translators.peer_authentication import mtls_mode
from translators.well_known_ports import LISTENERS


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundTarget:
    """One port, or with `port` None every port that has no target of its own."""

    port: int | None
    protocol: Protocol
    mode: MtlsMode
    cluster: str

    @property
    def takes_mtls(self) -> bool:
        return self.mode is not MtlsMode.DISABLE

    @property
    def takes_plaintext(self) -> bool:
        return self.mode is not MtlsMode.STRICT


def inbound_targets(view: View) -> tuple[InboundTarget, ...]:
    """The declared ports, then undeclared ones that a PeerAuthentication names, then all the others.

    The sidecar's own listeners are no targets, whatever a manifest declares.
    """
    declared = {port.number: port.protocol for port in view.inbound_ports if port.number not in LISTENERS}
    named = sorted(_named_by_policies(view) - declared.keys() - set(LISTENERS))
    return (
        *(
            InboundTarget(
                port=number, protocol=protocol, mode=_mode(view, number), cluster=str(InboundCluster(port=number))
            )
            for number, protocol in declared.items()
        ),
        *(_undeclared(view, number) for number in named),
        _undeclared(view, None),
    )


def _undeclared(view: View, port: int | None) -> InboundTarget:
    return InboundTarget(
        port=port, protocol=Protocol.DETECT, mode=_mode(view, port), cluster=INBOUND_PASSTHROUGH_CLUSTER
    )


def _mode(view: View, port: int | None) -> MtlsMode:
    return mtls_mode(view, view.namespace, view.labels, port)


def _named_by_policies(view: View) -> set[int]:
    return {port for policy in view.peer_authentications(view.namespace) for port in policy.port_modes}
