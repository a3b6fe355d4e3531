"""Which connections a workload accepts: PeerAuthentication brought down to one port. Source: Istio's precedence."""

from __future__ import annotations

from collections.abc import Mapping

from model.policies import MtlsMode, PeerAuthentication
from model.services import Endpoint
from model.view import View

DEFAULT_MODE = MtlsMode.PERMISSIVE


def mtls_mode(view: View, namespace: str, labels: Mapping[str, str], port: int | None) -> MtlsMode:
    """What the workload with these labels accepts on one of its own ports (not a Service's).

    `port` None: any port that no policy names. The most specific that says something wins: the workload's port,
    the workload, its namespace, the root namespace, PERMISSIVE; among equals the oldest policy.
    """
    own = view.peer_authentications(namespace)
    selecting = next((policy for policy in own if policy.selector and _selects(policy, labels)), None)
    if selecting is not None:
        if port is not None and (mode := selecting.port_modes.get(port)) is not None:
            return mode
        if selecting.mode is not None:
            return selecting.mode
    root = view.settings.root_namespace
    return _whole(own) or (_whole(view.peer_authentications(root)) if root != namespace else None) or DEFAULT_MODE


def is_called_with_mtls(endpoint: Endpoint, port: int, mode: MtlsMode) -> bool:
    """Whether callers speak mutual TLS to an endpoint at a Service port, where its workload accepts `mode`.

    Where the port leads past the sidecar, the application itself would get the greeting: it is called in plaintext,
    unless the mode is STRICT, which forbids that; then it cannot be called at all.
    """
    if not endpoint.meshed or endpoint.identity is None or mode is MtlsMode.DISABLE:
        return False
    return port not in endpoint.uncaptured or mode is MtlsMode.STRICT


def _selects(policy: PeerAuthentication, labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in policy.selector.items())


def _whole(policies: tuple[PeerAuthentication, ...]) -> MtlsMode | None:
    """The mode of the oldest policy without a selector."""
    return next((policy.mode for policy in policies if not policy.selector), None)
