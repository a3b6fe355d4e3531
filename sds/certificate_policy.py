"""How long certificates live, and the bounds of what may be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

LONGEST_LIFE = timedelta(days=90)
SHORTEST_LIFE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificatePolicy:
    """The life of a workload's certificate, from its issue to its end.

    Without its control plane a mesh keeps working for 0.45 of it: see `renewal`.
    Raises ValueError if `life` is above 90 days (Istio's bound) or below 10 seconds (a renewal must fit).
    """

    life: timedelta = timedelta(hours=24)

    def __post_init__(self) -> None:
        if not SHORTEST_LIFE <= self.life <= LONGEST_LIFE:
            raise ValueError(f"a certificate lives 10 seconds to 90 days, not {self.life}")
