"""How commands are told of an installation's injection settings."""

from __future__ import annotations

import argparse
from dataclasses import replace

from injector.settings import REVISION, InjectionSettings


def add_injection_arguments(parser: argparse.ArgumentParser) -> None:
    """The settings that the output depends on; the defaults are those of an installation that changes nothing."""
    default = InjectionSettings()
    parser.add_argument("--revision", default=REVISION, help=f"the revision of Heddle ({REVISION})")
    parser.add_argument("--proxy-image", default=default.proxy_image, metavar="IMAGE", help="the sidecar's image")
    parser.add_argument("--init-image", default=default.init_image, metavar="IMAGE", help="Heddle's image, for capture")
    parser.add_argument(
        "--xds",
        default=f"{default.xds_host}:{default.xds_port}",
        metavar="ADDR",
        help="where sidecars find the control plane (%(default)s)",
    )


def injection_settings(args: argparse.Namespace) -> InjectionSettings:
    """The settings that the arguments say. Raises ValueError if the address is none."""
    host, _, port = args.xds.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{args.xds!r} is no address: HOST:PORT, such as heddle.heddle-system.svc:15012")
    return replace(
        InjectionSettings(),
        revision=args.revision,
        is_default=args.revision == REVISION,
        proxy_image=args.proxy_image,
        init_image=args.init_image,
        xds_host=host.strip("[]"),
        xds_port=int(port),
    )
