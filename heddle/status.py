"""`heddle status`: which sidecars have the present configuration, and why one has not."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from heddle.admin_client import MeshUnreachable, Refused, ask
from heddle.meshes import NoMesh, add_mesh_argument, running_mesh
from heddle.output import add_output_argument, complain, print_json, print_table, printable

EXIT_FINE, EXIT_FINDINGS, EXIT_ERROR = 0, 1, 2
_GRACE_SECONDS = 15.0
"""How much longer than the mesh's own deadline the command waits for its answer."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "with --wait: 0 once everything in the directory is applied and every sidecar that needs the present\n"
        "configuration has acknowledged it, 1 if something was rejected, 2 when the time is up, naming who is late.\n"
        "What was saved before the command started is always counted; a file that is being written is waited for."
    )
    parser.add_argument("--wait", action="store_true", help="return when the present configuration is everywhere")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds to wait at most (60)")
    add_mesh_argument(parser)
    add_output_argument(parser)


def run_command(args: argparse.Namespace) -> int:
    try:
        home = running_mesh(args.mesh)
        if args.wait:
            found: dict[str, Any] = ask(
                home, "/wait", {"timeout": str(args.timeout)}, timeout=args.timeout + _GRACE_SECONDS
            )
        else:
            found = ask(home, "/status")
    except (NoMesh, MeshUnreachable, Refused, PermissionError) as error:
        complain(str(error))
        return EXIT_ERROR
    if args.output == "json":
        print_json(found)
    else:
        _print(found)
    rejected = bool(found["rejections"]) or any(finding["severity"] == "error" for finding in found["findings"])
    if not args.wait:
        return EXIT_FINDINGS if rejected else EXIT_FINE
    outcome = found["outcome"]
    if outcome == "late":
        for late in found["late"]:
            complain(f"late: {late}")
        return EXIT_ERROR
    return EXIT_FINDINGS if outcome == "rejected" else EXIT_FINE


def to_line(finding: Mapping[str, Any]) -> str:
    """A finding without its fix, as `analyze.to_json` has it: severity, place (`-` where unknown), object, message."""
    where = f"{finding['file']}:{finding['line']}" if finding["line"] else finding["file"] or "-"
    subject = " ".join(part for part in (finding["resource"], finding["field"]) if part)
    return printable(": ".join(part for part in (finding["severity"], where, subject, finding["message"]) if part))


def _print(found: dict[str, Any]) -> None:
    print(f"mesh {found['mesh']}, configuration {found['generation']}, from {found['directory']}")
    rows = []
    for sidecar in found["sidecars"]:
        kinds = [
            f"{kind} {state['sent']}{'' if state['acknowledged'] else '*'}{'!' if state['rejected'] else ''}"
            for kind, state in sidecar["types"].items()
        ]
        current = "current" if sidecar["current"] else "waiting"
        rows.append((f"{sidecar['pod']}.{sidecar['namespace']}", sidecar["protocol"], current, ", ".join(kinds)))
    if rows:
        print_table(("SIDECAR", "XDS", "STATE", "RESOURCES (* not acknowledged yet, ! rejected)"), rows)
    else:
        print("no sidecar is connected")
    for rejection in found["rejections"]:
        print(f"REJECTED by {rejection['pod']}.{rejection['namespace']}: {rejection['type']}: {rejection['reason']}")
        for name in rejection["resources"]:
            print(f"  in {name}")
    for pending in found["pending"]:
        print(f"pending: {pending}")
    for finding in found["findings"]:
        print(to_line(finding))
        if finding["fix"]:
            print(f"  fix: {finding['fix']}")
