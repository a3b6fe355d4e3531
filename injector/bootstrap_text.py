"""The bootstrap of an injected sidecar, as the argument that a kubelet completes.

What only the node knows (name, address) stands in it as a kubelet's variables, so that it depends on nothing but the
settings and the probes: all pods of a template share one text, which is made once.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import Final, assert_never

from injector import kubelet_text
from injector.kubelet_text import to_literal
from injector.names import ADMIN_SOCKET, ROOT_FILE, TOKEN_FILE, TOKEN_SECRET_FILE
from injector.pod_values import Json
from injector.settings import InjectionSettings
from protos.json_form import to_json_value
from translators.app_probes import (
    AppProbe,
    GrpcAppProbe,
    HttpAppProbe,
    TcpAppProbe,
    build_probe_clusters,
    build_probe_listener,
)
from translators.bootstrap import BootstrapParameters, NodeType, build_bootstrap
from translators.control_plane_cluster import ControlPlane
from translators.well_known_ports import INBOUND_SOURCE_V4, INBOUND_SOURCE_V6

MAX_TEXT: Final = 96 * 1024
"""Linux takes arguments of up to 128 KiB each."""


class TooManyProbes(ValueError):
    """A bootstrap that would not fit into an argument."""


@lru_cache(maxsize=1024)
def build_bootstrap_text(settings: InjectionSettings, node_type: NodeType, probes: tuple[AppProbe, ...]) -> str:
    """The value of `--config-yaml`: JSON in one line, escaped for the kubelet. Raises TooManyProbes."""
    bootstrap = dict(_without_probes(settings, node_type))
    if probes:
        literal = tuple(map(_literal, probes))
        # The application is asked from an address by which the capture rules know the sidecar.
        source = INBOUND_SOURCE_V4 if settings.ip_version == 4 else INBOUND_SOURCE_V6
        listener = build_probe_listener(kubelet_text.INSTANCE_IP, literal)
        clusters = build_probe_clusters(kubelet_text.INSTANCE_IP, source, literal)
        static = bootstrap["staticResources"]
        bootstrap["staticResources"] = {
            "listeners": [*static["listeners"], to_json_value(listener)],
            "clusters": [*static["clusters"], *map(to_json_value, clusters)],
        }
    text = json.dumps(bootstrap, separators=(",", ":"))
    if len(text) > MAX_TEXT:
        raise TooManyProbes(f"the sidecar's bootstrap would have {len(text)} bytes")
    return text


def warm_up(settings: InjectionSettings) -> None:
    """Does once what would make the first answers slow: a few hundred milliseconds of work."""
    second = timedelta(seconds=1)
    one_of_each = (
        HttpAppProbe(path="/http", port=1, app_path="/", timeout=second, tls=True),
        TcpAppProbe(path="/tcp", port=1, timeout=second, interval=second),
        GrpcAppProbe(path="/grpc", port=1, timeout=second, interval=second),
    )
    build_bootstrap_text(settings, "sidecar", one_of_each)
    build_bootstrap_text(settings, "router", ())


@lru_cache(maxsize=16)
def _without_probes(settings: InjectionSettings, node_type: NodeType) -> Json:
    """What all sidecars have in common, which is the slow part."""
    parameters = BootstrapParameters(
        namespace=kubelet_text.POD_NAMESPACE,
        pod=kubelet_text.POD_NAME,
        address=kubelet_text.INSTANCE_IP,
        service_account=kubelet_text.SERVICE_ACCOUNT,
        workload=kubelet_text.WORKLOAD_NAME,
        control_plane=ControlPlane(
            host=settings.xds_host,
            port=settings.xds_port,
            server_name=settings.server_name,
            root_file=ROOT_FILE,
            token_file=TOKEN_FILE,
            token_secret_file=TOKEN_SECRET_FILE,
        ),
        admin_socket=ADMIN_SOCKET,
        # A wildcard of both families fails where the node has no IPv6, which nobody here can know.
        own_address=kubelet_text.INSTANCE_IP,
        node_type=node_type,
    )
    return dict(to_json_value(build_bootstrap(parameters)))


def _literal(probe: AppProbe) -> AppProbe:
    """The same probe, none of whose texts a kubelet takes for a variable."""
    path = to_literal(probe.path)
    match probe:
        case HttpAppProbe():
            return replace(probe, path=path, app_path=to_literal(probe.app_path))
        case TcpAppProbe():
            return replace(probe, path=path)
        case GrpcAppProbe():
            return replace(probe, path=path, service=to_literal(probe.service))
        case _:
            assert_never(probe)
