"""Reserving a mesh's subnet among all meshes of one state folder, and against the host's own routes."""

import fcntl
import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from heddle.local.addresses import AddressUnavailable, MeshSubnet, choose_subnets
from heddle.local.programs import find_program


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A subnet that is this process's while the descriptor `lock` is open: the kernel drops it if we crash."""

    subnet: MeshSubnet
    lock: int


def reserve_subnet(state: Path, *, taken: Iterable[IPv4Network] = ()) -> Reservation:
    """Take the first free subnet that overlaps none of `taken`. `state` is a folder all meshes share; made if absent.

    Raises AddressUnavailable if there is none, OSError if the folder cannot be written.
    """
    state.mkdir(parents=True, exist_ok=True)
    for subnet in choose_subnets(taken):
        descriptor = _lock(state / f"subnet-{subnet.network.network_address}.lock")
        if descriptor is not None:
            return Reservation(subnet=subnet, lock=descriptor)
    raise AddressUnavailable("no /16 of 10.0.0.0/8 is free on this host")


def remove_free_locks(state: Path) -> None:
    """Deletes the files of reservations that nobody holds any more."""
    for path in state.glob("subnet-*.lock"):
        descriptor = _lock(path)
        if descriptor is not None:
            path.unlink()
            os.close(descriptor)


def _lock(path: Path) -> int | None:
    """The file's descriptor, locked; None if somebody else holds it. The file is made if absent."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)  # of a file that was just deleted: whoever comes next does not see that lock


def host_networks(host_network: int | None) -> tuple[IPv4Network, ...]:
    """The IPv4 networks the host has routes to, other than its default route.

    `host_network` is an open descriptor of the host's network namespace (see `MeshProcess`); None, where the mesh has
    no link to the host, gives no networks. Raises CalledProcessError if `ip` fails.
    """
    if host_network is None:
        return ()
    enter = (find_program("nsenter"), f"--net=/proc/{os.getpid()}/fd/{host_network}")
    command = (*enter, find_program("ip"), "-j", "-4", "route", "show", "table", "all")
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    destinations = (route["dst"] for route in json.loads(output or "[]"))
    return tuple(IPv4Network(destination) for destination in destinations if destination != "default")
