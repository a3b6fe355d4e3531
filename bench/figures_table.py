"""Figures with their targets, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line. `met` None: it has no target, or what it is compared with could not be measured here.

    `values` are the numbers by name, with the unit in it.
    """

    what: str
    measured: str
    target: str = ""
    met: bool | None = None
    values: dict[str, float] = field(default_factory=dict)


def print_figures(figures: Sequence[Figure], *, as_json: bool) -> int:
    """1 if a target is missed."""
    if as_json:
        print(json.dumps([asdict(figure) for figure in figures], indent=2))
    else:
        widths = [max(len(text) for text in column) for column in zip(*map(_cells, figures), strict=True)]
        for figure in figures:
            print("  ".join(text.ljust(width) for text, width in zip(_cells(figure), widths, strict=True)).rstrip())
    sys.stdout.flush()
    return 1 if any(figure.met is False for figure in figures) else 0


def _cells(figure: Figure) -> tuple[str, str, str, str]:
    met = "" if figure.met is None else "met" if figure.met else "MISSED"
    return (figure.what, figure.measured, figure.target, met)
