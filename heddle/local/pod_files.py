"""The files a pod sees in place of the host's, so that names resolve in any program: glibc, musl or Go."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAlias:
    """One line of `/etc/hosts`. Source: Kubernetes Pod `spec.hostAliases[]`."""

    address: Address
    names: tuple[str, ...]


def build_pod_files(
    *,
    hostname: str,
    namespace: str,
    addresses: Iterable[Address],
    name_server: Address,
    cluster_domain: str,
    aliases: Iterable[HostAlias],
) -> Mapping[str, str]:
    """Path in the pod to text. `addresses` are the pod's own, under which its `hostname` is known to itself.

    The search list and `ndots:5` are a Kubernetes pod's (dnsPolicy ClusterFirst).
    """
    search = f"{namespace}.svc.{cluster_domain} svc.{cluster_domain} {cluster_domain}"
    hosts = [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        *(f"{address}\t{hostname}" for address in addresses),
        *(f"{alias.address}\t{' '.join(alias.names)}" for alias in aliases),
    ]
    return {
        "/etc/resolv.conf": f"nameserver {name_server}\nsearch {search}\noptions ndots:5 timeout:2\n",
        "/etc/hosts": "\n".join(hosts) + "\n",
        "/etc/hostname": f"{hostname}\n",
        # Only these two: `resolve`, `mymachines` or `mdns` would ask the host's own resolver about our names.
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
        "networks: files\nprotocols: files\nservices: files\n",
    }
