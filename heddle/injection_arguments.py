"""How commands are told of an installation's settings."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from injector.settings import REVISION, InjectionSettings
from injector.settings_file import Given, InstallationSettings, parse_settings


def add_settings_argument(parser: argparse._ActionsContainer) -> None:
    """`--settings`, the same everywhere."""
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="what the installation decides (YAML, see docs/injection.md)"
    )


def add_injection_arguments(parser: argparse.ArgumentParser, *, revision: str = REVISION) -> None:
    """The settings that the output depends on; the defaults are those of an installation that changes nothing.

    `revision` says which one is meant where none is named.
    """
    default = InjectionSettings()
    add_settings_argument(parser)
    parser.add_argument("--revision", default="", metavar="NAME", help=f"the revision of Heddle ({revision})")
    parser.add_argument("--proxy-image", metavar="IMAGE", help=f"the sidecar's image ({default.proxy_image})")
    parser.add_argument("--init-image", metavar="IMAGE", help=f"Heddle's image, for capture ({default.init_image})")
    parser.add_argument(
        "--xds",
        metavar="ADDR",
        help=f"where sidecars find the control plane ({default.xds_host}:{default.xds_port})",
    )


def injection_settings(args: argparse.Namespace) -> InjectionSettings:
    """The settings of the file, and of the arguments, which win. Raises ValueError for a mistake, OSError."""
    return override(read_settings(args.settings, Given(revision=args.revision)).injection, args)


def override(settings: InjectionSettings, args: argparse.Namespace) -> InjectionSettings:
    """`settings`, but for what the arguments say. Raises ValueError for a mistake in them."""
    if args.xds is not None:
        host, _, port = args.xds.rpartition(":")
        if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise ValueError(f"{args.xds!r} is no address: HOST:PORT, such as heddle.heddle-system.svc:15012")
        settings = replace(settings, xds_host=host.strip("[]"), xds_port=int(port))
    return replace(
        settings,
        proxy_image=settings.proxy_image if args.proxy_image is None else args.proxy_image,
        init_image=settings.init_image if args.init_image is None else args.init_image,
    )


def read_settings(file: Path | None, given: Given) -> InstallationSettings:
    """The settings in a file, or without one the defaults. Raises OSError, BadSettings."""
    text = b"" if file is None else file.read_bytes()
    return parse_settings(text, file=str(file or ""), given=given)
