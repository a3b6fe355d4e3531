"""What an installation decides about the validation of Istio's objects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class OnError(StrEnum):
    """What becomes of an object with a mistake that would keep it out of force.

    WARN is for a cluster in which Istio runs too: what is an error to us may be right for it.
    """

    REFUSE = "Refuse"
    WARN = "Warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSettings:
    """How the validation webhook answers."""

    on_error: OnError = OnError.REFUSE
