"""A control plane to use by hand: `make cluster`. It lives until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.cluster import build
from tests.cluster.control_plane import API_SERVER, CONTROLLERS, ETCD, ControlPlane, running


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument(
        "--bind-address", default="127.0.0.1", help="where the API server listens (default: %(default)s)"
    )
    parser.add_argument("--nodes", action="store_true", help="with nodes that run its pods (root only)")
    parser.add_argument("--no-helm", action="store_true", help="do not build helm")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        folders = [] if arguments.no_helm else [build.helm_folder()]
        with _cluster(arguments.bind_address, arguments.nodes) as cluster:
            # `heddle` is beside the interpreter.
            paths = dict.fromkeys((str(Path(sys.executable).parent), str(cluster.programs), *map(str, folders)))
            print(f"export KUBECONFIG={cluster.kubeconfig}")
            print(f'export PATH="{os.pathsep.join(paths)}:$PATH"', flush=True)
            build.say(f"Logs are in {cluster.directory}. Ctrl-C ends the cluster and removes all of it.")
            return _watch(cluster)
    except build.ClusterUnavailable as reason:
        build.say(f"no cluster: {reason}")
        return 1
    except KeyboardInterrupt:
        return 0


@contextlib.contextmanager
def _cluster(bind_address: str, nodes: bool) -> Iterator[ControlPlane]:
    if not nodes:
        with running(bind_address) as control_plane:
            yield control_plane
        return
    # Imported here: it needs what only tests of the mesh need.
    from tests.kubelet.running_cluster import cluster_up

    with cluster_up() as cluster:
        build.say(f"what its containers say is in {cluster.nodes.directory}/logs")
        yield cluster.control_plane


def _watch(cluster: ControlPlane) -> int:
    """Returns 1 once a component has ended by itself."""
    while True:
        time.sleep(1.0)
        for component in (ETCD, API_SERVER, CONTROLLERS):
            status = cluster.status(component)
            if status is not None:
                last = "\n".join(cluster.log(component).splitlines()[-15:])
                build.say(f"{component} ended with {status}:\n{last}")
                return 1


if __name__ == "__main__":
    sys.exit(main())
