"""`heddle bootstrap`: what one workload's Envoy is started with."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

from heddle.admin_client import MeshUnreachable, Refused, ask
from heddle.meshes import NoMesh, add_mesh_argument, running_mesh, write_atomically
from heddle.output import complain
from heddle.pod_names import NoSuchPod, PodEntry, add_pod_arguments, choose_pod

_LONGEST_FOLDER_NAME = 48
"""A socket's path has at most 107 bytes in all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "  heddle bootstrap deploy/frontend -n shop > envoy.json && envoy -c envoy.json\n"
        "Its files are written too, and named in it: the trust bundle, and a token for this pod that is good for\n"
        "an hour; run the command again to renew it, Envoy reads the new one by itself."
    )
    add_pod_arguments(parser)
    parser.add_argument(
        "--files", type=Path, metavar="DIR", help="where token and trust bundle go (the mesh's own place)"
    )
    parser.add_argument("--state-of-the-world", action="store_true", help="ask for the state-of-the-world protocol")
    add_mesh_argument(parser)


def run_command(args: argparse.Namespace) -> int:
    try:
        home = running_mesh(args.mesh)
        listed: dict[str, Any] = ask(home, "/pods")
        pod = choose_pod(args.pod, args.namespace, [PodEntry(**entry) for entry in listed["pods"]])
        facts: dict[str, Any] = ask(home, f"/bootstrap/{pod.namespace}/{pod.name}")
        directory = args.files or home.path / "sidecars" / _folder_name(pod)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(directory / "root.pem", facts["trust_bundle"].encode())
        write_atomically(directory / "token", facts["token"].encode())
        rendered = _render(facts, directory.resolve(), delta=not args.state_of_the_world)
    except (NoMesh, NoSuchPod, MeshUnreachable, Refused, OSError) as error:
        complain(str(error))
        return 2
    print(rendered)
    return 0


def _folder_name(pod: PodEntry) -> str:
    """One that a file system takes whatever the names are, with room for a socket's path below it."""
    name = f"{pod.name}.{pod.namespace}"
    if len(name) <= _LONGEST_FOLDER_NAME:
        return name
    return f"{name[:16]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _render(facts: dict[str, Any], directory: Path, *, delta: bool) -> str:
    from model.services import Locality
    from translators.bootstrap import BootstrapParameters, build_bootstrap, to_json
    from translators.control_plane_cluster import ControlPlane, token_secret_document

    region, zone, subzone = facts["locality"]
    parameters = BootstrapParameters(
        namespace=facts["namespace"],
        pod=facts["pod"],
        address=facts["address"],
        service_account=facts["service_account"],
        workload=facts["workload"],
        labels=facts["labels"],
        node_type=facts["node_type"],
        locality=Locality(region=region, zone=zone, subzone=subzone),
        control_plane=ControlPlane(
            host=facts["host"],
            port=facts["port"],
            server_name=facts["server_name"],
            root_file=str(directory / "root.pem"),
            token_file=str(directory / "token"),
            token_secret_file=str(directory / "token-secret.json"),
        ),
        admin_socket=str(directory / "admin.sock"),
        delta=delta,
    )
    secret = token_secret_document(parameters.control_plane.token_file)
    write_atomically(directory / "token-secret.json", secret.encode())
    return to_json(build_bootstrap(parameters))
