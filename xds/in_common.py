"""What two collections of names have in common."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TypeAlias

Names: TypeAlias = Set[str] | Mapping[str, object]


def in_common(names: Names, others: Names) -> list[str]:
    """In the time of the smaller one.

    A change may concern one name or a hundred thousand, and a stream knows some dozens of names, or thousands.
    """
    few, many = (names, others) if len(names) < len(others) else (others, names)
    return [name for name in few if name in many]
