"""`heddle status`: which sidecars have the present configuration, and why one has not."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from heddle.admin_client import MeshUnreachable, Refused, ask
from heddle.cluster_arguments import add_kubernetes_arguments, misplaced_argument
from heddle.meshes import NoMesh, add_mesh_argument, running_mesh
from heddle.output import add_output_argument, complain, print_json, print_table, printable
from heddle.spans import wait_seconds
from model.problem_codes import ProblemCode

EXIT_FINE, EXIT_FINDINGS, EXIT_ERROR = 0, 1, 2
_GRACE_SECONDS = 15.0
"""How much longer than the mesh's own deadline the command waits for its answer."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "  heddle status                 the mesh that runs on this machine\n"
        "  heddle status --kubernetes    that of a cluster: all its control planes, and their sidecars\n"
        "with --wait: 0 once everything in the directory is applied and every sidecar that needs the present\n"
        "configuration has acknowledged it, 1 if something was rejected, 2 when the time is up, naming who is late.\n"
        "What was saved before the command started is always counted; a file that is being written is waited for.\n"
        "With --kubernetes a control plane that cannot be asked is named: exit status 1, or 2 if that is all of them."
    )
    parser.add_argument("--wait", action="store_true", help="return when the present configuration is everywhere")
    parser.add_argument("--timeout", type=wait_seconds, default=60.0, metavar="SPAN", help="how long at most (60s)")
    add_mesh_argument(parser)
    add_kubernetes_arguments(parser, "-n", "--namespace")
    add_output_argument(parser)


def run_command(args: argparse.Namespace) -> int:
    if wrong := misplaced_argument(args):
        complain(wrong)
        return EXIT_ERROR
    try:
        found = _ask_cluster(args) if args.kubernetes else _ask_mesh(args)
    except (NoMesh, MeshUnreachable, Refused, PermissionError) as error:
        complain(str(error))
        return EXIT_ERROR
    if args.output == "json":
        print_json(found)
    else:
        _print(found)
    silent = [each for each in found["control_planes"] if each.get("trouble")]
    for each in silent:
        complain(f"control plane {each['name']} cannot be asked: {each['trouble']}")
    if len(silent) == len(found["control_planes"]):
        return EXIT_ERROR
    rejected = bool(found["rejections"]) or any(finding["severity"] == "error" for finding in found["findings"])
    if not args.wait:
        return EXIT_FINDINGS if rejected or silent else EXIT_FINE
    outcome = found["outcome"]
    if outcome == "late":
        for late in found["late"]:
            complain(f"late: {late}")
        return EXIT_ERROR
    return EXIT_FINDINGS if outcome == "rejected" else EXIT_FINE


def _ask_mesh(args: argparse.Namespace) -> dict[str, Any]:
    home = running_mesh(args.mesh)
    if args.wait:
        return ask(home, "/wait", {"timeout": str(args.timeout)}, timeout=args.timeout + _GRACE_SECONDS)
    return ask(home, "/status")


def _ask_cluster(args: argparse.Namespace) -> dict[str, Any]:
    """Raises MeshUnreachable."""
    from heddle.cluster.ask_replicas import CannotAsk
    from heddle.cluster.cluster_status import ask_status

    try:
        return ask_status(args)
    except CannotAsk as error:
        raise MeshUnreachable(str(error)) from None


def to_line(finding: Mapping[str, Any]) -> str:
    """A finding without its fix, as `analyze.to_json` has it: severity, place (`-` where unknown), object, message."""
    where = f"{finding['file']}:{finding['line']}" if finding["line"] else finding["file"] or "-"
    subject = " ".join(part for part in (finding["resource"], finding["field"]) if part)
    return printable(": ".join(part for part in (finding["severity"], where, subject, finding["message"]) if part))


def _print(found: dict[str, Any]) -> None:
    in_cluster = any(plane["name"] for plane in found["control_planes"])
    if in_cluster:
        print(f"mesh {found['mesh']} of {found['directory']}")
        rows = [_plane_row(plane) for plane in found["control_planes"]]
        print_table(("CONTROL PLANE", "RELEASE", "REVISION", "CONFIGURATION", "SIDECARS", "STATE"), rows)
        print()
    else:
        (plane,) = found["control_planes"]
        generation = f"configuration {found['generation']}, from {found['directory']}"
        print(f"mesh {found['mesh']}, {generation}, heddle {plane['version']}")
    _print_sidecars(found["sidecars"], everywhere=in_cluster)
    for rejection in found["rejections"]:
        at = _place(rejection)
        print(
            f"REJECTED by {rejection['pod']}.{rejection['namespace']}{at}: {rejection['type']}: {rejection['reason']}"
        )
        for name in rejection["resources"]:
            print(f"  in {name}")
        # A replica of the version before does not say.
        for each in rejection.get("objects", ()):
            place = f" ({each['file']}:{each['line']})" if each["line"] else ""
            print(printable(f"  of {each['resource']}{place}"))
    for pending in found["pending"]:
        print(f"pending: {pending}")
    for finding in found["findings"]:
        if finding["code"] == ProblemCode.REJECTED_BY_SIDECAR:
            continue  # every sidecar that does was told above
        print(to_line(finding))
        if finding["fix"]:
            print(f"  fix: {finding['fix']}")


def _plane_row(plane: Mapping[str, Any]) -> tuple[str, ...]:
    state = "cannot be asked" if plane.get("trouble") else "leads" if plane["leading"] else ""
    told = ("?" if plane[name] is None else str(plane[name]) for name in ("generation", "sidecars"))
    return (plane["name"], plane["version"] or "?", plane["revision"], *told, state)


def _print_sidecars(sidecars: Sequence[Mapping[str, Any]], *, everywhere: bool) -> None:
    rows = []
    for sidecar in sidecars:
        kinds = [
            f"{kind} {state['sent']}{'' if state['acknowledged'] else '*'}{'!' if state['rejected'] else ''}"
            for kind, state in sidecar["types"].items()
        ]
        current = "current" if sidecar["current"] else "waiting"
        place = (sidecar.get("control_plane", ""),) if everywhere else ()
        # A replica of the version before does not say.
        xds = f"{sidecar['protocol']}{', on demand' if sidecar.get('on_demand') else ''}"
        rows.append((f"{sidecar['pod']}.{sidecar['namespace']}", *place, xds, current, ", ".join(kinds)))
    place = ("CONTROL PLANE",) if everywhere else ()
    if rows:
        print_table(("SIDECAR", *place, "XDS", "STATE", "RESOURCES (* not acknowledged yet, ! rejected)"), rows)
    else:
        print("no sidecar is connected")


def _place(entry: Mapping[str, Any]) -> str:
    return f" at {entry['control_plane']}" if entry.get("control_plane") else ""
