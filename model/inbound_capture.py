"""Which connections to a pod reach its sidecar: the annotations `traffic.sidecar.istio.io/*InboundPorts`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CAPTURE: Final = "traffic.sidecar.istio.io/"
"""What the names of the annotations that choose what is captured begin with."""

INCLUDED: Final = f"{CAPTURE}includeInboundPorts"
EXCLUDED: Final = f"{CAPTURE}excludeInboundPorts"

SIDECAR_PORTS: Final = (15020, 15021, 15090)
"""The sidecar's own ports that others ask: telemetry, readiness, statistics. Never captured."""

_PORT: Final = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundCapture:
    """`included` None is all ports; a tuple, also an empty one, just these, whatever `excluded` says."""

    included: tuple[int, ...] | None = None
    excluded: tuple[int, ...] = ()

    def captures(self, port: int) -> bool:
        """Whether a connection to that port of the pod reaches the sidecar."""
        if self.included is not None:
            return port in self.included
        return port not in SIDECAR_PORTS and port not in self.excluded


ALL: Final = InboundCapture()


def inbound_capture(annotations: Mapping[str, str]) -> InboundCapture:
    """What the annotations ask for. Raises ValueError, with the annotation's text, for one that does not parse."""
    if INCLUDED not in annotations and EXCLUDED not in annotations:
        return ALL
    included = annotations.get(INCLUDED, "*").strip()
    return InboundCapture(
        included=None if included == "*" else parse_ports(included),
        excluded=parse_ports(annotations.get(EXCLUDED, "")),
    )


def parse_ports(text: str) -> tuple[int, ...]:
    """Ports separated by commas. Raises ValueError for anything else; the message has the beginning of the text."""
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not all(_PORT.fullmatch(item) and 1 <= int(item) <= 65535 for item in items):
        raise ValueError(f"not a list of ports: {text.strip()[:80]!r}")
    return tuple(map(int, items))
