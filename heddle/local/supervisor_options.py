"""What `up` tells the supervisor, as one argument, and what it is told by an exit status."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from model.on_demand import SidecarConfig

KEYS_REFUSED: Final = 3
"""The supervisor's exit status when it cannot go on with the keys of an earlier mesh of its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorOptions:
    """`directory` is absolute. `certificate_seconds` 0 is the default life, `unused_seconds` 0 is never."""

    mesh: str
    directory: str
    certificate_seconds: float = 0.0
    sidecar_config: str = SidecarConfig.AUTO.value
    unused_seconds: float = 0.0
    envoy_log_level: str = "warning"
    verbose: bool = False

    def encode(self) -> str:
        return json.dumps(asdict(self))


def decode_options(text: str) -> SupervisorOptions:
    """The options in what `encode` gave."""
    return SupervisorOptions(**json.loads(text))
