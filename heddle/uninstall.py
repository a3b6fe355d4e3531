"""`heddle uninstall`: takes an installation away and leaves what is the users'."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from heddle.cluster.requests import add_cluster_arguments, open_cluster
from heddle.output import complain

if TYPE_CHECKING:
    from heddle.cluster.removal import Removal

EXIT_FINE, EXIT_FINDINGS, EXIT_ERROR = 0, 1, 2
_NAMESPACE = "heddle-system"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "  heddle uninstall                           print what would be deleted, for reading or for kubectl\n"
        "  heddle uninstall --apply                   delete it\n"
        "  heddle uninstall --revision canary --apply one version of two\n"
        "Never deleted: CustomResourceDefinitions, VirtualServices and what else users wrote, and Heddle's namespace.\n"
        "The key of the mesh's authority (Secret heddle-ca) stays, so that the next installation is the same mesh;\n"
        "--purge deletes it, and the roots in all namespaces: running sidecars then trust nobody who comes later.\n"
        "What Helm installed, Helm uninstalls. Exit status 1: nothing is installed."
    )
    parser.add_argument("-n", "--namespace", default=_NAMESPACE, help=f"Heddle's own namespace ({_NAMESPACE})")
    parser.add_argument("--revision", default="", metavar="NAME", help="which version (the one without a name)")
    parser.add_argument("--purge", action="store_true", help="also the key of the authority and its roots")
    parser.add_argument("--apply", action="store_true", help="delete instead of printing")
    add_cluster_arguments(parser)


def run_command(args: argparse.Namespace) -> int:
    from heddle.cluster.removal import CannotRemove
    from sources.kubernetes.access import NoCluster
    from sources.kubernetes.api import Refused, Unreachable
    from sources.kubernetes.events import Garbled

    try:
        return asyncio.run(_uninstall(args))
    except (NoCluster, CannotRemove, Unreachable, Refused, Garbled) as error:
        complain(str(error))
        return EXIT_ERROR


async def _uninstall(args: argparse.Namespace) -> int:
    from heddle.cluster.names import revision_name, shown
    from heddle.cluster.removal import plan_removal
    from heddle.cluster.requests import delete

    revision = revision_name(args.revision)
    async with open_cluster(args) as api:
        removal = await plan_removal(api, namespace=args.namespace, revision=revision, purge=args.purge)
        for line in removal.remarks:
            complain(line)
        if not removal.objects:
            complain(f"nothing of {revision} is installed here by `heddle install`")
            return EXIT_FINDINGS
        if not args.apply:
            _print(removal)
            return EXIT_FINE
        for item in removal.objects:
            if await delete(api, item):
                print(f"{shown(item)} deleted", flush=True)
    return EXIT_FINE


def _print(removal: Removal) -> None:
    from injector.yaml_output import dump_yaml

    for item in removal.objects:
        metadata = item["metadata"]
        place = {"namespace": metadata["namespace"]} if "namespace" in metadata else {}
        named = {
            "apiVersion": item["apiVersion"],
            "kind": item["kind"],
            "metadata": {"name": metadata["name"], **place},
        }
        sys.stdout.write(f"---\n{dump_yaml(named)}")
