"""Where a cluster's endpoints come from."""

from __future__ import annotations

from enum import Enum, auto

from model.services import Resolution, Service
from model.traffic import SimpleBalancer, TrafficPolicy
from model.view import View
from translators.aliases import aliased


class Discovery(Enum):
    """EDS: from the control plane. DNS: by an external name. DESTINATION: wherever the connection was going."""

    EDS = auto()
    DNS = auto()
    DESTINATION = auto()


def discovery_of(service: Service, policy: TrafficPolicy, view: View) -> Discovery:
    """How the endpoints of a service under that policy are found."""
    if policy.load_balancer is SimpleBalancer.PASSTHROUGH:
        return Discovery.DESTINATION
    if aliased(service, view).resolution is Resolution.EXTERNAL_NAME:
        return Discovery.DNS
    return Discovery.EDS
