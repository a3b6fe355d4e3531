"""How commands print: tables for people, JSON for programs, mistakes on standard error."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence


def add_output_argument(parser: argparse.ArgumentParser) -> None:
    """`-o table|json`, the same everywhere."""
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print (table)")


def printable(text: str) -> str:
    """`text` without what a terminal would obey: users' names and messages are printed, not carried out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their widest cell, two spaces apart; nothing is cut off."""
    cells = [[printable(str(cell)) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def cannot_read(error: Exception, fix: str) -> str:
    """What to say of a file that cannot be read: its name and why, then the fix. Other errors speak for themselves."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}; {fix}"
    return str(error)


def complain(text: str) -> None:
    """One line on standard error."""
    print(f"heddle: {text}", file=sys.stderr)
