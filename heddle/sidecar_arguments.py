"""Arguments that say how sidecars learn destinations, of `heddle serve` and `heddle local up`."""

from __future__ import annotations

import argparse
from datetime import timedelta

from model.on_demand import SidecarConfig

UNUSED_AFTER = timedelta(minutes=30)
"""`DemandLimits` has it too; imported from there, every command would load discovery."""


def add_sidecar_arguments(parser: argparse.ArgumentParser) -> None:
    """`--sidecar-config` and `--unused-after`."""
    parser.add_argument(
        "--sidecar-config",
        type=_sidecar_config,
        default=SidecarConfig.AUTO,
        metavar="auto|on-demand|eager",
        help="how sidecars learn destinations: as their applications ask for them, all ahead, or by how many there are",
    )
    parser.add_argument(
        "--unused-after",
        type=_span,
        default=UNUSED_AFTER,
        metavar="SPAN",
        help="on demand: when what was sent ahead is taken back, to see if it is asked for (30m; 0: never)",
    )


def to_unused_after(said: timedelta) -> timedelta | None:
    """None for never. Raises ValueError for a time before now."""
    if said < timedelta(0):
        raise ValueError("--unused-after is negative: give a span such as 30m, or 0 for never")
    return said or None


def _sidecar_config(text: str) -> SidecarConfig:
    # An Enum as the type itself is refused by its class's name, before `choices` are looked at.
    try:
        return SidecarConfig(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(SidecarConfig)}") from None


def _span(text: str) -> timedelta:
    from heddle.spans import span

    return span(text)
