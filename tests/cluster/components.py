"""The command lines of the components, and the ports they listen at."""

from __future__ import annotations

import ipaddress
import random
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SERVICE_RANGE: Final = "10.96.0.0/16"
ISSUER: Final = "https://kubernetes.default.svc"

_CONTROLLERS: Final = (
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "statefulset-controller",
)

_PORTS: Final = range(20_000, 30_000)
"""Below the ports that Linux gives to outgoing connections: while the API server is down its port must not be taken by
one, least of all by a client that keeps knocking and so connects to itself."""

_NOBODY: Final = "192.0.2.1"
"""An address of RFC 5737. An API server on loopback may not advertise that and otherwise looks for a default route."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """TCP ports: etcd's on 127.0.0.1, the API server's on its own address."""

    etcd: int
    etcd_peers: int
    api_server: int

    @classmethod
    def free(cls, bind_address: str) -> Ports:
        """Three that nothing listens at now. Raises OSError if the address is not this machine's."""
        etcd, peers = _free_ports("127.0.0.1", 2, ())
        (server,) = _free_ports(bind_address, 1, (etcd, peers))
        return cls(etcd=etcd, etcd_peers=peers, api_server=server)

    @property
    def etcd_url(self) -> str:
        return f"http://127.0.0.1:{self.etcd}"


def etcd(ports: Ports, directory: Path) -> tuple[str, ...]:
    """Arguments for etcd with its data in `directory`/etcd, which survive kills of the process, not of the machine."""
    return (
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={ports.etcd_url}",
        f"--advertise-client-urls={ports.etcd_url}",
        f"--listen-peer-urls=http://127.0.0.1:{ports.etcd_peers}",
        "--unsafe-no-fsync",
        "--log-level=error",
    )


def api_server(
    ports: Ports, directory: Path, bind_address: str, service_ranges: str, more: tuple[str, ...]
) -> tuple[str, ...]:
    """Arguments for kube-apiserver with the keys and `tokens.csv` of `directory`; `more` flags win over ours."""
    advertised = _NOBODY if ipaddress.ip_address(bind_address).is_loopback else bind_address
    return (
        f"--etcd-servers={ports.etcd_url}",
        f"--bind-address={bind_address}",
        f"--advertise-address={advertised}",
        f"--secure-port={ports.api_server}",
        f"--tls-cert-file={directory / 'apiserver.crt'}",
        f"--tls-private-key-file={directory / 'apiserver.key'}",
        f"--cert-dir={directory / 'cert-dir'}",
        f"--service-cluster-ip-range={service_ranges}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={directory / 'sa.pub'}",
        f"--service-account-signing-key-file={directory / 'sa.key'}",
        f"--token-auth-file={directory / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        # Else a stop waits a whole minute for clients to hang up their watches.
        "--shutdown-send-retry-after=true",
        *more,
    )


def controller_manager(directory: Path, kubeconfig: Path) -> tuple[str, ...]:
    """Arguments for kube-controller-manager with the controllers that need no kubelet, node or cloud."""
    return (
        f"--kubeconfig={kubeconfig}",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={directory / 'sa.key'}",
        f"--root-ca-file={directory / 'ca.crt'}",
        "--leader-elect=false",
        "--secure-port=0",
        # The default of 20 requests a second makes a test that rolls out many pods wait for nothing it tests.
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        f"--controllers={','.join(_CONTROLLERS)}",
    )


def _free_ports(address: str, count: int, taken: tuple[int, ...]) -> list[int]:
    found: list[int] = []
    # Not from the seeded generator: two test runs at once would look for the same ports.
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if port not in taken and _is_free(address, port):
            found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"no free port on {address} between {_PORTS.start} and {_PORTS.stop}")


def _is_free(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            # Fails for every port alike if the address is not ours: then say so.
            with socket.socket(family, socket.SOCK_STREAM) as other:
                other.bind((address, 0))
            return False
    return True
