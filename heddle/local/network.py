"""The mesh's network: a namespace for each pod, joined by routes in the mesh's own.

A pod has one interface, `eth0`, whose other end is in the mesh's namespace, and reaches everything, its neighbours
too, through the gateway. There is no bridge: every packet is routed, so the one set of service rules in the mesh's
namespace sees it in both directions (a reply that went over a bridge would miss the way back through the rules).

Calls block for milliseconds: have asyncio run them in a thread, one at a time.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final, Literal

from heddle.local import namespaces
from heddle.local.addresses import MeshSubnet
from heddle.local.enter import PodHandle
from heddle.local.fresh_threads import run_in_fresh_threads
from heddle.local.namespaces import Namespace
from heddle.local.pod_files import HostAlias, build_pod_files
from heddle.local.programs import find_program
from heddle.local.service_proxy import ServicePort, build_service_rules
from injector.capture import CaptureSettings, build_block, build_capture

_POD: Final = Namespace.NETWORK | Namespace.MOUNT | Namespace.UTS
_LEAVING: Final = 1
_REQUIRED_FILES: Final = ("/etc/resolv.conf", "/etc/hosts")
_GATEWAY_LINK: Final = "fe80::1"
_NAME_CACHE: Final = Path("/run/nscd")
"""The socket of a caching daemon, which would answer with the host's names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSpec:
    """A pod's place in the network. `capture` None is a pod without a sidecar.

    `name` is unique in the mesh, `hostname` what the pod calls itself (at most 63 bytes).
    """

    name: str
    namespace: str
    hostname: str
    address: IPv4Address
    aliases: tuple[HostAlias, ...] = ()
    capture: CaptureSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNetwork:
    """A pod's network that is up. `address6` is None where the host has no IPv6.

    `ipv6` says what becomes of IPv6 TCP: `open` (the pod has no sidecar), `captured`, or, because the kernel refused
    the rules for the reason in `problem`, `blocked` (nothing goes in or out) or `off` (the pod has no IPv6).
    """

    name: str
    address: IPv4Address
    address6: IPv6Address | None
    handle: PodHandle
    descriptors: tuple[int, ...]
    ipv6: Literal["open", "captured", "blocked", "off"]
    problem: str


class NetworkFailed(Exception):
    """A networking program refused; the message has the command and what it said."""


class MeshNetwork:
    """The network of one mesh. Belongs to the supervisor, inside the namespaces of `run_isolated`.

    `files` is a folder for the files pods see, covered by an in-memory file system that goes with the mesh.
    """

    def __init__(self, *, subnet: MeshSubnet, files: Path, cluster_domain: str = "cluster.local") -> None:
        """Bring up the gateway and forwarding. Raises NetworkFailed or OSError."""
        self.subnet: Final = subnet
        self._cluster_domain: Final = cluster_domain
        self._files: Final = files
        self._rules: dict[int, str] = {}
        self._has_ipv6: Final = Path("/proc/sys/net/ipv6").is_dir()
        files.mkdir(parents=True, exist_ok=True)
        namespaces.mount_scratch(files)
        (files / "empty").mkdir()
        _write_settings(_FORWARD)
        lines = [
            "link set lo up",
            f"address add {subnet.gateway}/32 dev lo",
            # Only so that the supervisor's own connections to Services get as far as the rules.
            f"route add {subnet.services} dev lo src {subnet.gateway}",
        ]
        if self._has_ipv6:
            _write_settings(_FORWARD6)
            lines.append(f"address add {subnet.gateway6}/128 dev lo nodad")
        _ip(lines)
        self.set_services(())

    def add_pods(self, specs: Sequence[PodSpec]) -> tuple[PodNetwork, ...]:
        """Make the pods' networks, some at once. All or none: if one fails, the rest are removed again.

        Raises NetworkFailed or OSError.
        """
        futures = run_in_fresh_threads([partial(self._make_pod, spec) for spec in specs])
        made = [future.result() for future in futures if future.exception() is None]
        try:
            for future in futures:
                future.result()
            _ip([line for pod in made for line in self._mesh_side(pod)])
        except BaseException:
            self.remove_pods(made)
            raise
        return tuple(made)

    def remove_pods(self, pods: Iterable[PodNetwork]) -> None:
        """Take the pods off the network. Their processes must have ended: the namespaces live as long as they do."""
        gone = tuple(pods)
        if gone:
            # As a group, because each deletion by itself waits 30 ms for the kernel's readers.
            marked = [f"link set {_interface(pod.address)} group {_LEAVING}" for pod in gone]
            _ip([*marked, f"link delete group {_LEAVING}"], force=True)
        for pod in gone:
            for descriptor in pod.descriptors:
                os.close(descriptor)
            shutil.rmtree(self._files / str(pod.address), ignore_errors=True)

    def set_services(self, ports: Iterable[ServicePort]) -> None:
        """Balance these Services' ports, and no others, from now on. Connections under way stay where they are.

        Raises NetworkFailed; the rules are then what they were.
        """
        wanted = tuple(ports)
        self._restore(4, build_service_rules(wanted, services=self.subnet.services, version=4))
        if self._rules.get(6) or any(port.address.version == 6 for port in wanted):
            self._restore(6, build_service_rules(wanted, services=self.subnet.services, version=6))

    def connect_host(self, host_network: int) -> None:
        """Let the host reach pods and Services: one pair of interfaces, and a route that goes with it.

        `host_network` is `MeshProcess.host_network`. Nothing is filtered or translated on the host.
        Raises NetworkFailed.
        """
        subnet = self.subnet
        ours, theirs = "uplink", f"heddle{subnet.network.network_address.packed[1]}"
        namespace = f"/proc/{os.getpid()}/fd/{host_network}"
        _ip(
            [
                f"link add {ours} type veth peer name {theirs} netns {namespace}",
                f"address add {subnet.uplink} peer {subnet.host} dev {ours}",
                f"link set {ours} up",
            ]
        )
        host_side = [
            f"address add {subnet.host} peer {subnet.uplink} dev {theirs}",
            f"link set {theirs} up",
            f"route add {subnet.network} via {subnet.uplink} dev {theirs}",
        ]
        _run((find_program("nsenter"), f"--net={namespace}", find_program("ip"), "-batch", "-"), host_side)

    def disconnect_host(self) -> None:
        """Takes the uplink away at once; the kernel would do it some time after the mesh's end."""
        _ip(["link delete uplink"], force=True)

    def _restore(self, version: int, rules: str) -> None:
        if self._rules.get(version) == rules:
            return
        _run((find_program("iptables-restore" if version == 4 else "ip6tables-restore"),), rules.splitlines())
        self._rules[version] = rules

    def _make_pod(self, spec: PodSpec) -> PodNetwork:
        """Build a pod's namespaces around the calling thread, which must end afterwards."""
        address6 = self.subnet.ipv6_of(spec.address) if self._has_ipv6 else None
        namespaces.unshare(_POD)
        with contextlib.ExitStack() as on_failure:
            descriptors = []
            for kind in ("net", "mnt", "uts"):
                descriptors.append(os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC))
                on_failure.callback(os.close, descriptors[-1])
            namespaces.set_hostname(spec.hostname)
            on_failure.callback(shutil.rmtree, self._files / str(spec.address), ignore_errors=True)
            self._mount_files(spec, address6)
            _write_settings((*_POD_SETTINGS, *(_POD_SETTINGS6 if address6 else ())))
            _ip(self._pod_side(spec.address, address6))
            ipv6, problem = _apply_capture(spec.capture, has_ipv6=address6 is not None)
            on_failure.pop_all()
        network, mount, hostname = (f"/proc/{os.getpid()}/fd/{descriptor}" for descriptor in descriptors)
        return PodNetwork(
            name=spec.name,
            address=spec.address,
            address6=address6,
            handle=PodHandle(network=network, mount=mount, hostname=hostname),
            descriptors=tuple(descriptors),
            ipv6=ipv6,
            problem=problem,
        )

    def _mount_files(self, spec: PodSpec, address6: IPv6Address | None) -> None:
        folder = self._files / str(spec.address)
        folder.mkdir()
        texts = build_pod_files(
            hostname=spec.hostname,
            namespace=spec.namespace,
            addresses=(spec.address, *((address6,) if address6 else ())),
            name_server=self.subnet.gateway,
            cluster_domain=self._cluster_domain,
            aliases=spec.aliases,
        )
        for path, text in texts.items():
            if path not in _REQUIRED_FILES and not Path(path).exists():
                continue  # musl has no nsswitch.conf, and without one its order is ours
            source = folder / Path(path).name
            source.write_text(text)
            namespaces.bind(source, path)
        if _NAME_CACHE.is_dir():
            namespaces.bind(self._files / "empty", _NAME_CACHE)

    def _pod_side(self, address: IPv4Address, address6: IPv6Address | None) -> list[str]:
        gateway = self.subnet.gateway
        lines = [
            "link set lo up",
            f"link add eth0 type veth peer name {_interface(address)} netns /proc/{os.getpid()}/ns/net",
            f"address add {address}/32 dev eth0",
            "link set eth0 up",
            f"route add {gateway} dev eth0 scope link",
            f"route add default via {gateway} dev eth0",
        ]
        if address6 is not None:
            lines += [
                "address add ::6/128 dev lo nodad",
                f"address add {address6}/128 dev eth0 nodad",
                f"route add ::/0 via {_GATEWAY_LINK} dev eth0",
            ]
        return lines

    def _mesh_side(self, pod: PodNetwork) -> list[str]:
        interface = _interface(pod.address)
        lines = [f"link set {interface} addrgenmode none"] if pod.address6 else []
        lines += [f"link set {interface} up", f"route add {pod.address}/32 dev {interface}"]
        if pod.address6 is not None:
            lines += [
                f"address add {_GATEWAY_LINK}/64 dev {interface} nodad",
                f"route add {pod.address6}/128 dev {interface}",
            ]
        return lines


# A new namespace starts with the host's own values for some of these (`net.core.devconf_inherit_init_net`).
_PLAIN: Final = tuple(
    (f"ipv4/conf/{which}/{name}", "0")
    for which in ("all", "default")
    for name in ("rp_filter", "arp_ignore", "arp_announce", "send_redirects")
)
_PLAIN6: Final = tuple(
    (f"ipv6/conf/{which}/{name}", "0")
    for which in ("all", "default")
    for name in ("disable_ipv6", "accept_dad", "accept_ra")
)
_FORWARD: Final = (*_PLAIN, ("ipv4/ip_forward", "1"))
_FORWARD6: Final = (*_PLAIN6, ("ipv6/conf/all/forwarding", "1"))
_POD_SETTINGS: Final = (*_PLAIN, ("ipv4/ip_unprivileged_port_start", "0"), ("ipv4/ping_group_range", "0 0"))
_POD_SETTINGS6: Final = _PLAIN6


def _apply_capture(
    settings: CaptureSettings | None, *, has_ipv6: bool
) -> tuple[Literal["open", "captured", "blocked", "off"], str]:
    if settings is None:
        return ("open" if has_ipv6 else "off"), ""
    _run((find_program("iptables-restore"), "--noflush"), build_capture(settings, 4).splitlines())
    if not has_ipv6:
        return "off", ""
    command = (find_program("ip6tables-restore"), "--noflush")
    try:
        _run(command, build_capture(settings, 6).splitlines())
    except NetworkFailed as failure:
        try:
            _run(command, build_block().splitlines())
        except NetworkFailed:
            _write_settings((("ipv6/conf/all/disable_ipv6", "1"),))
            return "off", str(failure)
        return "blocked", str(failure)
    return "captured", ""


def _interface(address: IPv4Address) -> str:
    return f"pod{int(address) & 0xFFFF}"


def _write_settings(settings: Iterable[tuple[str, str]]) -> None:
    for name, value in settings:
        Path("/proc/sys/net", name).write_text(value)


def _ip(lines: Sequence[str], *, force: bool = False) -> None:
    if lines:
        _run((find_program("ip"), *(("-force",) if force else ()), "-batch", "-"), lines, check=not force)


def _run(command: tuple[str, ...], lines: Sequence[str], *, check: bool = True) -> None:
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise NetworkFailed(f"{' '.join(command)}: {done.stderr.strip()}")
