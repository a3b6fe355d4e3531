"""Meshes for the tests of listeners: one workload with its ports and policies, and what it calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from envoy_data_plane.envoy.config.listener.v3 import FilterChain, FilterChainMatch, Listener

from model.asker import Asker, Capture
from model.mesh import InboundPort, Mesh
from model.policies import AuthorizationPolicy, MtlsMode, PeerAuthentication
from model.problems import ObjectRef
from model.services import Protocol
from model.view import View, view_of


def peer_authentication(
    mode: MtlsMode | None, *, namespace: str = "shop", ports: dict[int, MtlsMode | None] | None = None
) -> PeerAuthentication:
    """For the whole namespace; with `ports` for the workloads labelled `app: users`."""
    return PeerAuthentication(
        ref=ObjectRef(kind="PeerAuthentication", namespace=namespace, name="mode"),
        selector={"app": "users"} if ports else {},
        mode=mode,
        port_modes=ports or {},
    )


def inbound_view(
    *ports: tuple[int, Protocol],
    peers: Iterable[PeerAuthentication] = (),
    policies: Iterable[AuthorizationPolicy] = (),
    capture: Capture = Capture.REDIRECT,
    snapshot: Mesh | None = None,
) -> View:
    """The workload `users-1` of the namespace `shop`."""
    peers, policies = tuple(peers), tuple(policies)
    mesh = replace(
        snapshot or Mesh(),
        inbound_ports={("shop", "users-1"): tuple(InboundPort(number=n, protocol=p) for n, p in ports)},
        peer_authentications={
            name: tuple(peer for peer in peers if peer.ref.namespace == name)
            for name in sorted({peer.ref.namespace for peer in peers})
        },
        authorization_policies={
            name: tuple(policy for policy in policies if policy.ref.namespace == name)
            for name in sorted({policy.ref.namespace for policy in policies})
        },
    )
    asker = Asker(
        namespace="shop",
        pod="users-1",
        service_account="users",
        labels={"app": "users"},
        address="127.1.0.2",
        capture=capture,
        application_address="127.0.0.1",
    )
    return view_of(mesh, asker)


def chosen(listener: Listener, *, port: int, transport: str = "raw_buffer", application: str = "") -> str:
    """The chain Envoy takes, '' for none. As Envoy looks: port, then transport, then protocol, never turning back."""
    chains = _at(listener.filter_chains, "destination_port", port, None)
    chains = _at(chains, "transport_protocol", transport, "")
    with_it = [chain for chain in chains if application in _match(chain).application_protocols]
    found = with_it or [chain for chain in chains if not _match(chain).application_protocols]
    assert len(found) <= 1, "two chains match one connection"
    return found[0].name if found else ""


def _at(chains: list[FilterChain], field: str, value: object, anything: object) -> list[FilterChain]:
    exact = [chain for chain in chains if getattr(_match(chain), field) == value]
    return exact or [chain for chain in chains if getattr(_match(chain), field) == anything]


def _match(chain: FilterChain) -> FilterChainMatch:
    return chain.filter_chain_match or FilterChainMatch()
