"""`--kubernetes` of commands that else mean a mesh on this machine. Light: nothing is imported until it is given."""

from __future__ import annotations

import argparse
from pathlib import Path

_ONLY_THERE = {"kubeconfig": "--kubeconfig", "context": "--context", "system_namespace": "", "revision": "--revision"}


def add_kubernetes_arguments(parser: argparse.ArgumentParser, *names: str) -> None:
    """`names` are those of the argument for Heddle's own namespace."""
    parser.add_argument("--kubernetes", action="store_true", help="the mesh of a cluster: all its control planes")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="which kubeconfig (as kubectl finds it)")
    parser.add_argument("--context", metavar="NAME", help="which of its contexts (the current one)")
    parser.add_argument(
        *names, dest="system_namespace", metavar="NS", help="Heddle's own namespace in the cluster (heddle-system)"
    )
    parser.add_argument("--revision", metavar="NAME", help="only the control planes of this revision (all)")
    parser.set_defaults(system_namespace_argument=names[-1])


def misplaced_argument(args: argparse.Namespace) -> str:
    """What is wrong with the arguments for where the mesh is, '' if nothing is."""
    if args.kubernetes:
        return "--mesh names a mesh on this machine: not with --kubernetes" if args.mesh else ""
    given = [
        name or args.system_namespace_argument
        for attribute, name in _ONLY_THERE.items()
        if getattr(args, attribute) is not None
    ]
    return f"{', '.join(given)}: only with --kubernetes" if given else ""
