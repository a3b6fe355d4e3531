"""The `heddle` command: one word picks the command, and only that command's code is imported."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from heddle.huge_pages import start_with_huge_pages

EXIT_FINE, EXIT_FINDINGS, EXIT_ERROR = 0, 1, 2
VERSION = "0.1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`module` has `add_arguments(parser)` and `run_command(args) -> int`. `holds_much`: of memory, for long."""

    module: str
    summary: str
    holds_much: bool = False


COMMANDS = {
    "serve": Command(
        module="heddle.serve", summary="run the control plane, on a directory of YAML or a cluster", holds_much=True
    ),
    "local": Command(module="heddle.local.commands", summary="run a whole mesh on this machine, without a cluster"),
    "analyze": Command(module="heddle.analyze", summary="check manifests and say what to mend, with file and line"),
    "status": Command(module="heddle.status", summary="which sidecars have which configuration, and why not"),
    "config": Command(module="heddle.config_dump", summary="what one sidecar was sent"),
    "inject": Command(module="heddle.inject", summary="add sidecars to manifests, for a cluster"),
    "check-inject": Command(module="heddle.check_inject", summary="say why a pod gets a sidecar, or why not"),
    "install": Command(module="heddle.install", summary="print what a cluster needs to run Heddle, or apply it"),
    "check": Command(module="heddle.check", summary="say whether a cluster will do, and whether Heddle works in it"),
    "uninstall": Command(module="heddle.uninstall", summary="take Heddle out of a cluster, and leave what is yours"),
    "bootstrap": Command(module="heddle.bootstrap", summary="print the Envoy bootstrap of one workload"),
    "certificates": Command(module="heddle.certificates", summary="keep the certificate of one workload in files"),
}

TEACHING = """\
a first tour:
  heddle analyze examples/shop          is this YAML right? what would not work, and where?
  heddle local up examples/shop         run it: each pod a process with its own Envoy and address
  heddle local status                   the pods and services of the running mesh
  heddle local exec deploy/frontend -n shop -- curl -s http://users:8080/
  heddle config route deploy/frontend   what that pod's sidecar was told about routes
  heddle status --wait                  after an edit: return once every sidecar has taken it
  heddle status --kubernetes            the same of a cluster's control planes and their sidecars

exit status: 0 fine, 1 findings, 2 could not do it.
Commands find the running mesh by themselves; with several, name one: --mesh NAME; one in a cluster: --kubernetes.
"""


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for `argv`; arguments of a command are added only for the one that `argv` names."""
    parser = argparse.ArgumentParser(
        prog="heddle",
        description="A service mesh control plane: Istio's resources in, stock Envoy sidecars out.",
        epilog=TEACHING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"heddle {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if argv[:1] == [name]:
            module = importlib.import_module(command.module)
            module.add_arguments(sub)
            sub.set_defaults(run_command=module.run_command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Exit status: 0 fine, 1 findings, 2 could not do it."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None and any(COMMANDS[name].holds_much for name in arguments[:1] if name in COMMANDS):
        start_with_huge_pages()
    args = build_parser(arguments).parse_args(arguments)
    try:
        return int(args.run_command(args))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_ERROR


if __name__ == "__main__":
    sys.exit(main())
