"""The ports and addresses that belong to the sidecar. The numbers are Istio's, so that its tools and rules fit."""

from __future__ import annotations

OUTBOUND = 15001
INBOUND = 15006
PROBES = 15020
READINESS = 15021
METRICS = 15090

LISTENERS = (OUTBOUND, INBOUND)
"""Where captured traffic arrives. Nobody may ask for these ports as a destination: the sidecar would call itself."""

INBOUND_SOURCE_V4 = "127.0.0.6"
INBOUND_SOURCE_V6 = "::6"
"""What the sidecar calls its own application from; the capture rules let exactly these sources pass."""
