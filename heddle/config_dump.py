"""`heddle config KIND POD`: what one sidecar was sent, acknowledged or rejected. Secrets' keys are never printed."""

from __future__ import annotations

import argparse
from typing import Any

from heddle.admin_client import MeshUnreachable, Refused, ask
from heddle.cluster_arguments import add_kubernetes_arguments, misplaced_argument
from heddle.meshes import NoMesh, add_mesh_argument, running_mesh
from heddle.output import add_output_argument, complain, print_json, print_table
from heddle.pod_names import NoSuchPod, PodEntry, add_pod_arguments, choose_pod

KINDS = ("cluster", "listener", "route", "endpoint", "secret")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "  heddle config route deploy/frontend -n shop            the routes, one line each\n"
        "  heddle config cluster frontend-7c9d-x2x4z.shop -o json the whole resources as Envoy has them\n"
        "  heddle config route frontend-7c9d-x2x4z.shop --kubernetes   of a pod in a cluster\n"
        "exit status: 0 fine, 1 the sidecar rejected something of this kind, 2 no such pod or mesh."
    )
    parser.add_argument("kind", choices=(*KINDS, "all"), help="which resources")
    add_pod_arguments(parser)
    add_mesh_argument(parser)
    add_kubernetes_arguments(parser, "--system-namespace")
    add_output_argument(parser)


def run_command(args: argparse.Namespace) -> int:
    if wrong := misplaced_argument(args):
        complain(wrong)
        return 2
    try:
        found = _ask_cluster(args) if args.kubernetes else _ask_mesh(args)
    except (NoMesh, NoSuchPod, MeshUnreachable, Refused, PermissionError) as error:
        complain(str(error))
        return 2
    rejections, plane = found.pop("rejections"), found.pop("control_plane")
    del found["connected"]
    if args.output == "json":
        print_json(
            {
                **{kind: [_whole(entry) for entry in entries] for kind, entries in found.items()},
                "rejections": rejections,
                **({"control_plane": plane} if plane else {}),
            }
        )
    else:
        if plane:
            print(f"from the control plane {plane}\n")
        for kind, entries in found.items():
            print_table((kind.upper(), "STATE", "VERSION", "SUMMARY"), _rows(kind, entries))
            print()
        for rejection in rejections:
            print(f"REJECTED {rejection['type']} {', '.join(rejection['resources'])}: {rejection['reason']}")
    return 1 if rejections else 0


def _ask_mesh(args: argparse.Namespace) -> dict[str, Any]:
    home = running_mesh(args.mesh)
    pods: dict[str, Any] = ask(home, "/pods")
    pod = choose_pod(args.pod, args.namespace, [PodEntry(**pod) for pod in pods["pods"]])
    return ask(home, f"/config/{pod.namespace}/{pod.name}/{args.kind}")


def _ask_cluster(args: argparse.Namespace) -> dict[str, Any]:
    """Raises MeshUnreachable, NoSuchPod."""
    from heddle.cluster.ask_replicas import CannotAsk
    from heddle.cluster.cluster_config import ask_config

    try:
        return ask_config(args)
    except CannotAsk as error:
        raise MeshUnreachable(str(error)) from None


def _whole(entry: dict[str, Any]) -> dict[str, Any]:
    """For JSON: the resource itself, with what is known of its delivery beside it."""
    content = entry["content"]
    return {**content, "name": entry["name"], "version": entry["version"], "state": entry["state"]}


def _rows(kind: str, entries: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    return [(e["name"], e["state"], e["version"][:12], _SUMMARIES[kind](e["content"])) for e in entries]


def _cluster(content: dict[str, Any]) -> str:
    return str(content.get("type", content.get("clusterType", "STATIC")))


def _listener(content: dict[str, Any]) -> str:
    chains = len(content.get("filterChains", []))
    return f"{chains} filter chains, {'with' if 'defaultFilterChain' in content else 'without'} a default"


def _route(content: dict[str, Any]) -> str:
    if "domains" not in content:
        return f"route table, {len(content.get('virtualHosts', []))} virtual hosts inside"
    actions = "; ".join(f"{_match(route)} -> {_action(route)}" for route in content.get("routes", []))
    return f"{', '.join(content['domains'][:3])}{', ...' if len(content['domains']) > 3 else ''}: {actions}"


def _match(route: dict[str, Any]) -> str:
    match = route.get("match", {})
    path = match.get("prefix") or match.get("path") or match.get("safeRegex", {}).get("regex") or "*"
    more = [header.get("name", "") for header in match.get("headers", [])]
    more += [parameter.get("name", "") for parameter in match.get("queryParameters", [])]
    return path + (f" [{', '.join(more)}]" if more else "")


def _action(route: dict[str, Any]) -> str:
    if "redirect" in route:
        return "redirect"
    if "directResponse" in route:
        return f"answer {route['directResponse'].get('status')}"
    action = route.get("route", {})
    if "weightedClusters" in action:
        return " + ".join(f"{c.get('weight', 0)}:{c['name']}" for c in action["weightedClusters"].get("clusters", []))
    return str(action.get("cluster", action.get("clusterHeader", "?")))


def _endpoint(content: dict[str, Any]) -> str:
    addresses = []
    for locality in content.get("endpoints", []):
        for endpoint in locality.get("lbEndpoints", []):
            socket = endpoint.get("endpoint", {}).get("address", {}).get("socketAddress", {})
            addresses.append(f"{socket.get('address')}:{socket.get('portValue')}")
    return ", ".join(addresses) or "no endpoints"


def _secret(content: dict[str, Any]) -> str:
    holder = content.get("spiffe_id") or content.get("subject", "")
    return f"{holder} serial {content.get('serial', '')} until {content.get('not_after', '')}"


_SUMMARIES = {"cluster": _cluster, "listener": _listener, "route": _route, "endpoint": _endpoint, "secret": _secret}
