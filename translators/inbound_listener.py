"""`virtualInbound`: everything that iptables turns to the sidecar from outside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import TrafficDirection
from envoy_data_plane.envoy.config.listener.v3 import Listener, ListenerFilter

from model.names import INBOUND_LISTENER
from model.services import Protocol
from model.settings import MeshSettings
from model.view import View
from translators.addresses import build_wildcard
from translators.inbound_chains import build_inbound_chains
from translators.inbound_ports import InboundTarget, inbound_targets
from translators.listener_filters import Ports, http_inspector, original_destination, tls_inspector
from translators.traps import build_traps
from translators.well_known_ports import INBOUND

MINIMUM_DETECTION_TIMEOUT = timedelta(seconds=1)
"""A client of the mesh whose TLS greeting is late must not be taken for plaintext: not for lack of a moment's CPU."""


def build_inbound_listener(view: View) -> Listener:
    """The declared ports, and all the others; IPv4 and IPv6 alike."""
    targets = inbound_targets(view)
    return Listener(
        name=INBOUND_LISTENER,
        address=build_wildcard(INBOUND, ipv6=view.ipv6),
        traffic_direction=TrafficDirection.INBOUND,
        listener_filters=[original_destination(), *inspectors(targets)],
        listener_filters_timeout=detection_timeout(view.settings),
        continue_on_listener_filters_timeout=True,
        filter_chains=[*build_traps(), *(chain for target in targets for chain in build_inbound_chains(target, view))],
    )


def inspectors(targets: Sequence[InboundTarget]) -> list[ListenerFilter]:
    """TLS is looked for where mutual TLS may come, HTTP where plaintext of an unknown protocol may."""
    return [
        *tls_inspector(_ports(targets, [target.takes_mtls or target.protocol.is_http for target in targets])),
        *http_inspector(
            _ports(targets, [target.takes_plaintext and target.protocol is Protocol.DETECT for target in targets])
        ),
    ]


def detection_timeout(settings: MeshSettings) -> timedelta:
    """How long an inspector waits for the first bytes; 0 is for ever."""
    configured = settings.protocol_detection_timeout
    return max(configured, MINIMUM_DETECTION_TIMEOUT) if configured else configured


def _ports(targets: Sequence[InboundTarget], wanted: Sequence[bool]) -> Ports:
    """The ports of the targets that are wanted, where a target without a port stands for all the others."""
    others = any(want for target, want in zip(targets, wanted, strict=True) if target.port is None)
    return Ports(
        numbers=frozenset(
            target.port
            for target, want in zip(targets, wanted, strict=True)
            if target.port is not None and want is not others
        ),
        others=others,
    )
