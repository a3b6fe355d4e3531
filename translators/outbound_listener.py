"""`virtualOutbound`: everything that the application sends, wherever it was going."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import TrafficDirection
from envoy_data_plane.envoy.config.listener.v3 import FilterChain, Listener

from model.names import OUTBOUND_LISTENER
from model.services import Protocol
from model.view import View
from translators.addresses import build_wildcard
from translators.listener_filters import Ports, http_inspector, original_destination
from translators.on_demand_chains import build_on_demand_chains, claims_apart
from translators.outbound_chains import build_elsewhere, build_outbound_chains
from translators.outbound_claims import PortClaims, claims_on
from translators.scope import http_ports
from translators.traps import build_traps
from translators.well_known_ports import LISTENERS, OUTBOUND


def build_outbound_listener(view: View) -> Listener:
    """Filter chains by destination: by port where it is HTTP, by address and port for the rest, which on demand shares
    one."""
    ports = sorted({*view.ports, *http_ports(view)} - {*LISTENERS})
    claims = claims_apart(ports, view) if view.on_demand else [claims_on(port, view) for port in ports]
    detecting = Ports(numbers=frozenset(claim.port for claim in claims if _detects(claim)))
    return Listener(
        name=OUTBOUND_LISTENER,
        address=build_wildcard(OUTBOUND, ipv6=view.ipv6),
        traffic_direction=TrafficDirection.OUTBOUND,
        listener_filters=[original_destination(), *http_inspector(detecting)],
        listener_filters_timeout=view.settings.protocol_detection_timeout if detecting else timedelta(0),
        continue_on_listener_filters_timeout=True,
        filter_chains=[*build_traps(), *_chains(claims, view)],
        default_filter_chain=FilterChain(name="elsewhere", filters=build_elsewhere(view)),
    )


def _chains(claims: Sequence[PortClaims], view: View) -> list[FilterChain]:
    if view.on_demand:
        return build_on_demand_chains(claims, view)
    return [chain for claim in claims for chain in build_outbound_chains(claim, view)]


def _detects(claims: PortClaims) -> bool:
    return claims.detect_anywhere or any(claim.protocol is Protocol.DETECT for claim in claims.exact)
