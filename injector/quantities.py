"""Kubernetes quantities: `100m`, `64Mi`, `1.5`, `2e3`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

_QUANTITY: Final = re.compile(
    r"([0-9]{1,15}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})([eE][+-]?[0-9]{1,2}|[KMGTPE]i|[numkMGTPE])?"
)
_FACTORS: Final[Mapping[str, Decimal]] = {
    "": Decimal(1),
    **{
        suffix: Decimal(10) ** power
        for suffix, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
    },
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}


def parse_quantity(text: str) -> Decimal:
    """The amount, in cores or bytes. Raises ValueError for what Kubernetes refuses, and for negative amounts."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:80]!r} is no quantity")
    number, suffix = Decimal(found[1]), found[2] or ""
    if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix[1] != "i":
        return number.scaleb(int(suffix[1:]))
    return number * _FACTORS[suffix]
