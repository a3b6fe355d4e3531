"""`heddle serve`: the control plane on a directory of YAML, for sidecars that somebody else starts."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from heddle.log_output import configure_logging
from heddle.meshes import MeshExists, MeshRecord, claim
from heddle.output import complain
from heddle.spans import span
from sds.certificate_policy import CertificatePolicy
from sds.keyfiles import KeyFileError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "  heddle serve --config manifests/ --xds 127.0.0.1:15010\n"
        "  heddle bootstrap POD -n NAMESPACE > envoy.yaml && envoy -c envoy.yaml\n"
        "Every file under DIR ending in .yaml, .yml or .json is read and watched; several documents a file are fine.\n"
        "Sidecars connect over TLS and show their pod's token. Ctrl-C ends it; sidecars keep what they have."
    )
    parser.add_argument("--config", required=True, type=Path, metavar="DIR", help="manifests: a directory or a file")
    parser.add_argument(
        "--xds", default="127.0.0.1:15010", metavar="ADDR", help="where sidecars connect (127.0.0.1:15010)"
    )
    parser.add_argument("--mesh", default="serve", metavar="NAME", help="the name other commands find it by (serve)")
    parser.add_argument(
        "--cert-life", type=span, default=CertificatePolicy().life, metavar="SPAN", help="life of a certificate (24h)"
    )
    parser.add_argument("--log-json", action="store_true", help="log lines as JSON")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")


def run_command(args: argparse.Namespace) -> int:
    configure_logging(json_lines=args.log_json, verbose=args.verbose)
    if not args.config.exists():
        complain(f"{args.config} does not exist: name a directory (or a file) of manifests with --config")
        return 2
    host, _, port = args.xds.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        complain(f"{args.xds!r} is no address: HOST:PORT, such as 127.0.0.1:15010 or [::1]:15010")
        return 2
    try:
        policy = CertificatePolicy(life=args.cert_life)
        return asyncio.run(_serve(args.config.resolve(), host.strip("[]"), int(port), args.mesh, policy))
    except (MeshExists, ValueError, OSError, KeyFileError) as error:
        complain(str(error))
        return 2


async def _serve(config: Path, host: str, port: int, mesh: str, policy: CertificatePolicy) -> int:
    from heddle.admin import admin_api
    from heddle.control_plane import ControlPlane, PlaneSettings

    home, lock = claim(mesh)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        plane = ControlPlane(
            PlaneSettings(directory=config, keys=home.path / "ca", host=host, port=port, certificates=policy)
        )
        async with plane.running(), admin_api(plane, home.name, home.admin_socket):
            home.write_record(MeshRecord(name=home.name, directory=str(config), started=time.time(), kind="serve"))
            served, bound = plane.xds_address
            print(f"heddle serves {config} on {served}:{bound} (mesh {home.name}); Ctrl-C ends it", file=sys.stderr)
            await stop.wait()
    finally:
        for left in home.path.iterdir():
            if left.name not in ("ca", "lock") and not left.is_dir():
                left.unlink(missing_ok=True)
        os.close(lock)
    return 0
