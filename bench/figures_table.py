"""Figures with their targets, as a table for people and as JSON for programs: both of one run.

Every part of the benchmark takes its arguments and reports through here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


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


def figures_parser(part: str, about: str | None) -> argparse.ArgumentParser:
    """A parser with what every part of the benchmark has; `part` is its module's name within this folder."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{part}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_json_argument(parser)
    return parser


def add_json_argument(parser: argparse.ArgumentParser, default: Path | None = None) -> None:
    """`--json FILE`."""
    parser.add_argument(
        "--json",
        type=_writable,
        default=default,
        metavar="FILE",
        help=f"where the same figures are written as JSON ({default or 'nowhere'})",
    )


def report(figures: Sequence[Figure], json_file: Path | None) -> int:
    """Prints the table, writes the file if there is one. 1 if a target is missed."""
    widths = [max(len(text) for text in column) for column in zip(*map(_cells, figures), strict=True)]
    for figure in figures:
        print("  ".join(text.ljust(width) for text, width in zip(_cells(figure), widths, strict=True)).rstrip())
    sys.stdout.flush()
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
    return 1 if any(figure.met is False for figure in figures) else 0


def _writable(text: str) -> Path:
    """Tried before minutes of measuring, not after them."""
    try:
        Path(text).open("a").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: {error.strerror}") from error
    return Path(text)


def _cells(figure: Figure) -> tuple[str, str, str, str]:
    met = "" if figure.met is None else "met" if figure.met else "MISSED"
    return (figure.what, figure.measured, figure.target, met)
