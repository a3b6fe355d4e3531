"""Shares of requests."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import RuntimeFractionalPercent
from envoy_data_plane.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType

_PARTS_A_PERCENT = 10_000


def build_percentage(percentage: float) -> FractionalPercent:
    """`percentage` of 0 to 100, to the nearest 0.0001."""
    parts = min(max(round(percentage * _PARTS_A_PERCENT), 0), 100 * _PARTS_A_PERCENT)
    return FractionalPercent(numerator=parts, denominator=FractionalPercentDenominatorType.MILLION)


def build_runtime_percentage(percentage: float) -> RuntimeFractionalPercent:
    """The same where Envoy would let its runtime override it; nothing here does."""
    return RuntimeFractionalPercent(default_value=build_percentage(percentage))
