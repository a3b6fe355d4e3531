"""`heddle local`: its commands and their arguments. What a command does is imported when it is called."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from heddle.meshes import add_mesh_argument
from heddle.output import add_output_argument
from heddle.pod_names import add_pod_arguments
from heddle.sidecar_arguments import add_sidecar_arguments

TEACHING = """\
  heddle local up examples/shop              run it here, in the foreground; Ctrl-C ends it
  heddle local up examples/shop --detach --wait
  heddle local status                        pods and services, why a pod is not ready
  heddle local exec deploy/frontend -n shop -- curl -s http://users:8080/
  heddle local logs deploy/users-v1 -n shop -f
  heddle local logs deploy/users-v1 -n shop -c istio-proxy
  heddle local down

Edited, added and deleted manifests are applied while it runs. A container's `command` is run as it is, on this
machine's files: images are not pulled, and a container without a command is reported and left out. It starts in the
directory given to `up`; a relative `workingDir` is relative to that. Two meshes may run side by side: --mesh NAME.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = TEACHING
    commands = parser.add_subparsers(
        dest="local_command", metavar="COMMAND", required=True, parser_class=_CommandAfterDashes
    )
    plain: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    _add_up(commands.add_parser("up", help="start a mesh from a directory of manifests", **plain))
    down = commands.add_parser("down", help="end a mesh and remove all of it (0 if none runs)", **plain)
    add_mesh_argument(down)
    status = commands.add_parser("status", help="its pods and services", **plain)
    add_mesh_argument(status)
    add_output_argument(status)
    execute = commands.add_parser(
        "exec",
        help="run a command inside a pod's network",
        usage="%(prog)s [-h] [-n NAMESPACE] [-c CONTAINER] [--mesh NAME] POD -- COMMAND [ARGUMENT ...]",
        epilog="Standard input, output, error and the exit status are the command's. It runs in the container's\n"
        "directory and environment. Of a workload's pods a ready one is taken.",
        **plain,
    )
    add_pod_arguments(execute)
    execute.add_argument("-c", "--container", help="whose environment and user (default: the first container)")
    add_mesh_argument(execute)
    logs = commands.add_parser("logs", help="what a container printed", **plain)
    add_pod_arguments(logs)
    logs.add_argument("-c", "--container", help="default: the first container; `istio-proxy` is the sidecar")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the pod is gone")
    logs.add_argument("--tail", type=int, metavar="N", help="only the last N lines")
    add_mesh_argument(logs)


def run_command(args: argparse.Namespace) -> int:
    match args.local_command:
        case "up":
            from heddle.local.up import start_mesh

            return start_mesh(args)
        case "down":
            from heddle.local.down import end_mesh

            return end_mesh(args.mesh)
        case "exec":
            from heddle.local.execute import execute

            return execute(args)
        case "logs":
            from heddle.local.logs import print_logs

            return print_logs(args)
        case _:
            from heddle.local.show_status import show_status

            return show_status(args)


class _CommandAfterDashes(argparse.ArgumentParser):
    """Takes what stands after `--` as it is: argparse would look for its own options in it."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        given = list(args or ())
        before, command = given, None
        if "--" in given:
            dashes = given.index("--")
            before, command = given[:dashes], given[dashes + 1 :]
        found, rest = super().parse_known_args(before, namespace)
        found.exec_command = command
        return found, rest


def _add_up(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "In the foreground it runs until Ctrl-C, which removes all of it. With --detach it returns when the mesh\n"
        "answers commands; with --detach --wait when all pods are ready and know of each other: 0, or 1 with the\n"
        "reasons if that cannot be or the time is up (the mesh goes on running), 2 if it could not be started."
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="manifests: a directory or a file")
    parser.add_argument("--detach", action="store_true", help="run in the background")
    parser.add_argument("--wait", action="store_true", help="with --detach: return when all pods are ready")
    parser.add_argument("--timeout", type=float, default=120.0, metavar="S", help="seconds to wait at most (120)")
    parser.add_argument("--mesh", metavar="NAME", help="the mesh's name (default: that of the directory)")
    parser.add_argument(
        "--isolation",
        choices=("auto", "root", "user", "loopback"),
        default="auto",
        help="root: network namespaces; user: the same inside a user namespace; loopback: none (default: the best)",
    )
    parser.add_argument("--cert-life", type=_span, metavar="SPAN", help="life of a workload's certificate (24h)")
    add_sidecar_arguments(parser)
    parser.add_argument("--envoy-log-level", default="warning", metavar="LEVEL", help="of the sidecars (warning)")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")


def _span(text: str) -> timedelta:
    from heddle.spans import span

    return span(text)
