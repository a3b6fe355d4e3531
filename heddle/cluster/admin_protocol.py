"""How a replica is asked about itself."""

from __future__ import annotations

from typing import Final

TOKEN_HEADER: Final = "X-Heddle-Token"
"""Has the token: an API server that passes a question on takes the header `Authorization` away."""

PROGRESS_PATH: Final = "/progress"
"""What replicas ask each other; people ask what the admin socket answers."""

REASON: Final = "HeddleRefused"
"""The `reason` of a refusal of ours, which else has the shape of an API server's."""

LONGEST_WAIT_SECONDS: Final = 20.0
"""Of one question; whoever wants to wait for longer asks again."""
