"""What happens inside the mesh in the network tests: each function is one supervisor, with pods of its own."""

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path

import pytest

from heddle.local.addresses import AddressBook, MeshSubnet
from heddle.local.dns import serve_names
from heddle.local.enter import CONTAINER_CAPABILITIES, pod_command
from heddle.local.isolation import Isolation, mesh_process
from heddle.local.names import NamedService, NameTable, build_name_table
from heddle.local.network import MeshNetwork, NetworkFailed, PodNetwork, PodSpec
from heddle.local.pod_files import HostAlias
from heddle.local.service_proxy import Endpoint, ServicePort
from heddle.local.subnets import host_networks
from injector.capture import SIDECAR_MARK, SIDECAR_USER, CaptureSettings, ExemptMark, ExemptUser

PROGRAM = str(Path(__file__).with_name("pod_program.py"))
SUBNET = MeshSubnet(network=IPv4Network("10.199.0.0/16"))
IS_ROOT = mesh_process(os.environ).isolation is Isolation.ROOT
EXEMPT = ExemptUser() if IS_ROOT else ExemptMark()
VIP = IPv4Address("10.199.128.1")


class Mesh:
    """A mesh's network with pods by name, in order: `a` has the first pod address."""

    def __init__(self, folder: Path, **captures: CaptureSettings | None) -> None:
        self.network = MeshNetwork(subnet=SUBNET, files=folder / "files")
        book = AddressBook(subnet=SUBNET)
        specs = []
        for name, capture in captures.items():
            book, address = book.with_pod(f"shop/{name}")
            alias = HostAlias(address=IPv4Address("192.0.2.9"), names=("alias", "alias.example"))
            specs.append(
                PodSpec(name=name, namespace="shop", hostname=name, address=address, aliases=(alias,), capture=capture)
            )
        self.pods = {pod.name: pod for pod in self.network.add_pods(specs)}

    def start(self, pod: str, *arguments: str, sidecar: bool = False) -> None:
        """Start the pod program in a pod, and wait until it says that it is ready."""
        running = subprocess.Popen(self.line(pod, arguments, sidecar=sidecar), stdout=subprocess.PIPE, text=True)
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"

    def ask(self, pod: str, *arguments: str, sidecar: bool = False) -> list[str]:
        """Run the pod program to its end; the lines it printed."""
        mark = ("--mark", str(SIDECAR_MARK)) if sidecar and not IS_ROOT else ()
        line = self.line(pod, (*arguments, *mark), sidecar=sidecar)
        return subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, timeout=20).stdout.splitlines()

    def call(self, pod: str, host: object, port: int, *arguments: str, sidecar: bool = False) -> str:
        (line,) = self.ask(pod, "call", str(host), str(port), *arguments, sidecar=sidecar)
        return line

    def line(self, pod: str, arguments: Sequence[str], *, sidecar: bool) -> tuple[str, ...]:
        python = sys.executable
        if sidecar and IS_ROOT:
            # The sidecar's user may not be able to read root's interpreter, so it goes there with its keys.
            keep = ("setpriv", f"--ruid={SIDECAR_USER}", f"--euid={SIDECAR_USER}", "--ambient-caps=+dac_override")
            keep = (*keep, "--inh-caps=+dac_override")
            return pod_command(self.pods[pod].handle, (*keep, python, PROGRAM, *arguments))
        capabilities = None if sidecar else CONTAINER_CAPABILITIES
        return pod_command(self.pods[pod].handle, (python, PROGRAM, *arguments), capabilities=capabilities)


def balanced(*endpoints: tuple[PodNetwork, int], port: int = 80, protocol: str = "tcp") -> ServicePort:
    targets = tuple(Endpoint(address=pod.address, port=to) for pod, to in endpoints)
    assert protocol in ("tcp", "udp")
    return ServicePort(address=VIP, port=port, protocol="udp" if protocol == "udp" else "tcp", endpoints=targets)


@contextmanager
def name_server(table: NameTable) -> Iterator[None]:
    """Serve names from a thread of its own."""
    ready, done = threading.Event(), asyncio.Event()
    numbers = itertools.count(1000)

    async def serve() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        async with serve_names(
            (str(SUBNET.gateway),), new_id=lambda: next(numbers), resolvers=mesh_process(os.environ).resolvers
        ) as server:
            server.set_table(table)
            ready.set()
            await done.wait()

    loop: asyncio.AbstractEventLoop | None = None
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        assert loop is not None
        loop.call_soon_threadsafe(done.set)
        thread.join()


def pods_reach_each_other(folder: Path) -> None:
    mesh = Mesh(folder, a=None, b=None)
    a, b = mesh.pods["a"], mesh.pods["b"]
    mesh.start("b", "serve", "80=b")
    assert mesh.call("a", b.address, 80) == f"b from={a.address} to=none"
    assert mesh.call("a", b.address6, 80) == f"b from={a.address6} to=none"
    assert mesh.call("b", b.address, 80) == f"b from={b.address} to=none"
    assert mesh.call("b", "127.0.0.6", 80, "--source", "127.0.0.6") == "b from=127.0.0.6 to=none"
    assert mesh.call("b", "::1", 80, "--source", "::6") == "b from=::6 to=none"
    mesh.network.remove_pods([b])
    links = subprocess.run(("ip", "-br", "link"), capture_output=True, text=True, check=True).stdout
    assert [line.split("@")[0] for line in links.splitlines() if line.startswith("pod")] == ["pod257"]


def orphans_are_reaped(folder: Path) -> None:
    """A process whose parent ended is the mesh's pid 1's to wait for: it must not stay as a zombie."""
    shell = subprocess.run(("sh", "-c", "true & echo $!"), capture_output=True, text=True, check=True)
    orphan = Path("/proc", shell.stdout.strip())
    deadline = time.monotonic() + 20
    while orphan.exists():
        assert time.monotonic() < deadline, (orphan / "status").read_text()


def the_hosts_routes_are_seen(folder: Path) -> None:
    process = mesh_process(os.environ)
    assert (process.host_network is not None) == IS_ROOT
    mesh = MeshNetwork(subnet=SUBNET, files=folder / "files")
    if process.host_network is not None:
        assert SUBNET.network not in host_networks(process.host_network)
        mesh.connect_host(process.host_network)
        assert SUBNET.network in host_networks(process.host_network)


def names_resolve(folder: Path) -> None:
    mesh = Mesh(folder, a=None, b=None)
    b = mesh.pods["b"]
    table = build_name_table(
        (
            NamedService(namespace="shop", name="users", addresses=(VIP,)),
            NamedService(namespace="bank", name="ledger", addresses=(b.address,), pods={"ledger-0": (b.address,)}),
            NamedService(namespace="shop", name="other", external_name="ledger.bank.svc.cluster.local"),
        )
    )
    with name_server(table):
        hostname, *found = mesh.ask(
            "a", "names", "users", "users.shop", "users.shop.svc", "users.shop.svc.cluster.local", "USERS",
            "ledger.bank", "ledger-0.ledger.bank", "other", "alias", "a", "localhost",
        )  # fmt: skip
        assert hostname == "a"
        assert found[:5] == [str(VIP)] * 5
        assert found[5:8] == [str(b.address)] * 3
        assert found[8] == "192.0.2.9"
        assert str(mesh.pods["a"].address) in found[9]
        assert "127.0.0.1" in found[10]
        _, nobody, no_service = mesh.ask("a", "names", "nobody", "users.bank")
        assert int(nobody) < 0
        assert int(no_service) < 0
        # The test answers for the world, outside of the mesh.
        assert mesh.ask("a", "names", "www.example.org") == ["a", "192.0.2.80"]


def capture_redirects(folder: Path) -> None:
    skip_c = CaptureSettings(exempt=EXEMPT, exclude_inbound_ports=(9000,), exclude_outbound_ports=(9001,))
    only_d = CaptureSettings(
        exempt=EXEMPT,
        include_inbound_ports=(9000,),
        include_outbound_ranges=(ip_network("192.0.2.0/24"),),
        include_outbound_ports=(9001,),
    )
    mesh = Mesh(folder, a=CaptureSettings(exempt=EXEMPT), b=None, c=skip_c, d=only_d)
    a, b, c, d = (mesh.pods[name] for name in "abcd")
    assert [pod.ipv6 for pod in (a, b, c, d)] == ["captured", "open", "captured", "captured"]
    for pod in "acd":
        mesh.start(pod, "serve", "15001=out", "15006=in", "15020=own", sidecar=True)
        mesh.start(pod, "serve", "8080=app", "9000=app")
    mesh.start("b", "serve", "8080=b", "9001=b")
    mesh.network.set_services((balanced((b, 8080), port=80), balanced((b, 9001), port=9001)))

    # Inbound, declared or not, on both IP versions; the sidecar's own ports are left alone.
    assert mesh.call("b", a.address, 8080) == f"in from={b.address} to={a.address}:8080"
    assert mesh.call("b", a.address, 7777) == f"in from={b.address} to={a.address}:7777"
    assert mesh.call("b", a.address6, 8080) == f"in from={b.address6} to=[{a.address6}]:8080"
    assert mesh.call("b", a.address, 15020).startswith("own ")

    # Outbound from the application: to pods, to Services, to nowhere.
    assert mesh.call("a", b.address, 8080) == f"out from={a.address} to={b.address}:8080"
    assert mesh.call("a", b.address6, 8080) == f"out from={a.address6} to=[{b.address6}]:8080"
    assert mesh.call("a", VIP, 80) == f"out from={a.address} to={VIP}:80"
    assert mesh.call("a", "192.0.2.1", 443) == f"out from={a.address} to=192.0.2.1:443"

    # Outbound from the sidecar: straight to where it says, Services balanced.
    assert mesh.call("a", b.address, 8080, sidecar=True) == f"b from={a.address} to=none"
    assert mesh.call("a", b.address6, 8080, sidecar=True) == f"b from={a.address6} to=none"
    assert mesh.call("a", VIP, 80, sidecar=True) == f"b from={a.address} to=none"

    # Inside the pod: the application to itself and the sidecar to it are direct, the sidecar's way to its own
    # Service enters by the front door.
    for own in ("127.0.0.1", "::1", a.address, a.address6):
        assert mesh.call("a", own, 8080).startswith("app ")
    assert mesh.call("a", a.address, 8080, "--source", "127.0.0.6", sidecar=True).startswith("app from=127.0.0.6")
    assert mesh.call("a", a.address6, 8080, "--source", "::6", sidecar=True).startswith("app from=::6")
    assert mesh.call("a", a.address, 8080, sidecar=True) == f"in from={a.address} to={a.address}:8080"
    assert mesh.call("a", a.address6, 8080, sidecar=True) == f"in from={a.address6} to=[{a.address6}]:8080"

    # Exclusions and inclusions.
    assert mesh.call("b", c.address, 9000).startswith("app ")
    assert mesh.call("b", c.address, 8080).startswith("in ")
    assert mesh.call("c", VIP, 9001).startswith("b ")
    assert mesh.call("c", b.address, 8080).startswith("out ")
    assert mesh.call("b", d.address, 9000).startswith("in ")
    assert mesh.call("b", d.address, 8080).startswith("app ")
    assert mesh.call("d", "192.0.2.7", 80).startswith("out ")
    assert mesh.call("d", b.address, 8080).startswith("b ")
    assert mesh.call("d", b.address, 9001).startswith("out ")


def ipv6_is_blocked_where_it_cannot_be_captured(folder: Path) -> None:
    """The tool that sets IPv6 rules does not know the `nat` table, as on kernels built without it."""
    mesh = Mesh(folder, a=CaptureSettings(exempt=EXEMPT), b=None)
    a, b = mesh.pods["a"], mesh.pods["b"]
    assert a.ipv6 == "blocked"
    assert "no nat table" in a.problem
    mesh.start("a", "serve", "15006=in", "8080=app")
    mesh.start("b", "serve", "8080=b")
    assert mesh.call("b", a.address, 8080).startswith("in ")
    assert mesh.call("b", a.address6, 8080) == "PermissionError"  # what ICMP's "prohibited" is to a program
    assert mesh.call("a", b.address6, 8080) == "ConnectionRefusedError"
    assert mesh.call("a", "::1", 8080).startswith("app ")


def services_are_balanced(folder: Path) -> None:
    mesh = Mesh(folder, a=None, b=None, c=None, d=None)
    pods = [mesh.pods[name] for name in "abcd"]
    for name in "bcd":
        mesh.start(name, "serve", f"8080={name}")
    mesh.start("b", "udp", "5353", "b")
    mesh.network.set_services(
        (balanced(*((pod, 8080) for pod in pods[1:])), balanced((pods[1], 5353), port=53, protocol="udp"))
    )
    seen = Counter(connect_many(mesh, "a", 90))
    assert sorted(seen) == ["b", "c", "d"]
    assert min(seen.values()) > 5  # of 90 at a third each: five or fewer has a chance below 1e-8
    # A pod that is its own endpoint.
    assert sorted(Counter(connect_many(mesh, "b", 40))) == ["b", "c", "d"]
    # The supervisor itself.
    assert udp_answer("x") == "b x"

    kept = subprocess.Popen(
        (*mesh.line("a", (), sidecar=False)[:-2], sys.executable, "-c", ECHO, str(VIP)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert kept.stdin is not None
    assert kept.stdout is not None
    first = kept.stdout.readline().split()[0]
    rest = [pod for pod in pods[1:] if pod.name != first]
    mesh.network.set_services((balanced(*((pod, 8080) for pod in rest)),))
    assert first not in set(connect_many(mesh, "a", 40))
    kept.stdin.write("still there\n")
    kept.stdin.flush()
    assert kept.stdout.readline() == "still there\n"
    kept.stdin.close()
    assert kept.wait(10) == 0

    mesh.network.set_services((balanced(),))
    assert mesh.call("a", VIP, 80) == "ConnectionRefusedError"
    assert mesh.call("a", VIP, 81) == "ConnectionRefusedError"


ECHO = """
import socket, sys
with socket.create_connection((sys.argv[1], 80), 5) as connection:
    lines = connection.makefile()
    print(lines.readline(), end="", flush=True)
    for line in sys.stdin:
        connection.sendall(line.encode())
        print(lines.readline(), end="", flush=True)
"""

MANY = """
import socket, sys
for _ in range(int(sys.argv[2])):
    with socket.create_connection((sys.argv[1], 80), 5) as connection:
        print(connection.makefile().readline().split()[0])
"""


def connect_many(mesh: Mesh, pod: str, times: int) -> list[str]:
    line = pod_command(mesh.pods[pod].handle, (sys.executable, "-c", MANY, str(VIP), str(times)))
    return subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, timeout=30).stdout.split()


def udp_answer(text: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.sendto(text.encode(), (str(VIP), 53))
        return udp.recv(100).decode()


def all_or_none(folder: Path) -> None:
    """One of two pods cannot be made: the other is gone too, and both addresses can be used again."""
    network = MeshNetwork(subnet=SUBNET, files=folder / "files")
    good = PodSpec(name="good", namespace="shop", hostname="good", address=SUBNET.network[257])
    no_such_user = CaptureSettings(exempt=ExemptUser(uid=2**32 - 1))
    bad = PodSpec(name="bad", namespace="shop", hostname="bad", address=SUBNET.network[258], capture=no_such_user)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(NetworkFailed, match="iptables-restore"):
        network.add_pods((good, bad))
    assert len(os.listdir("/proc/self/fd")) == before
    assert sorted(os.listdir(folder / "files")) == ["empty"]
    (again,) = network.add_pods((good,))
    assert again.name == "good"


def twenty_pods_then_hold(folder: Path) -> None:
    """A mesh of twenty pods with a process each, which says how to enter them and lasts until it is told to end."""
    names = [f"p{number}" for number in range(20)]
    mesh = Mesh(folder, **dict.fromkeys(names))
    for name in names:
        subprocess.Popen(pod_command(mesh.pods[name].handle, ("sleep", "1234567")))
    mesh.start("p0", "serve", "8080=p0")
    process = mesh_process(os.environ)
    if process.host_network is not None:
        mesh.network.connect_host(process.host_network)
    said = {
        "pid": process.pid,
        "started": process.started,
        "pods": [{"address": str(pod.address), **asdict(pod.handle)} for pod in mesh.pods.values()],
    }
    print(json.dumps(said), flush=True)
    threading.Event().wait()
