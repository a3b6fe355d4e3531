"""The few Linux calls behind namespaces that Python 3.11 does not wrap.

Each raises OSError with the kernel's errno. `unshare` and `setns` change the calling thread only, except that a
new user or PID namespace needs a single-threaded process (see unshare(2), setns(2)).
"""

import ctypes
import os
import signal
from enum import IntFlag
from pathlib import Path
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG: Final = 1
_MS_NOSUID_NODEV_NOEXEC: Final = 2 | 4 | 8
_MS_BIND: Final = 4096
_MS_REC_PRIVATE: Final = 16384 | (1 << 18)


class Namespace(IntFlag):
    """The namespace kinds, with the numbers of `<linux/sched.h>`."""

    MOUNT = 0x00020000
    UTS = 0x04000000
    IPC = 0x08000000
    USER = 0x10000000
    PID = 0x20000000
    NETWORK = 0x40000000


def unshare(kinds: Namespace) -> None:
    """Leave the given namespaces for new ones. A new PID namespace holds the children, not the caller."""
    _check(_libc.unshare(int(kinds)), "unshare")


def setns(namespace: int | str, kind: Namespace) -> None:
    """Enter the namespace behind an open descriptor or a path such as `/proc/7/ns/net`."""
    if isinstance(namespace, int):
        _check(_libc.setns(namespace, int(kind)), f"setns {kind.name}")
        return
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(descriptor, int(kind)), f"setns {kind.name} {namespace}")
    finally:
        os.close(descriptor)


def map_root_to(user: int, group: int) -> None:
    """Make the caller, just moved to a new user namespace, uid 0 and gid 0 of it.

    `user` and `group` are what the caller was outside. Only these two are mapped: an ordinary user may map no more
    (user_namespaces(7)), which is why a sidecar in here is known by its mark, not by its uid.
    """
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def make_mounts_private() -> None:
    """Keep what is mounted here from showing anywhere else, and the other way round."""
    _mount("none", "/", None, _MS_REC_PRIVATE)


def mount_proc() -> None:
    """Show the processes of this PID namespace under `/proc`."""
    _mount("proc", "/proc", "proc", _MS_NOSUID_NODEV_NOEXEC)


def mount_scratch(directory: str | Path) -> None:
    """Put an empty in-memory file system over `directory`; it vanishes with the mount namespace."""
    _mount("tmpfs", str(directory), "tmpfs", _MS_NOSUID_NODEV_NOEXEC, "mode=0755")


def bind(source: str | Path, target: str | Path) -> None:
    """Make `target` (a file or a directory that exists; a symbolic link is followed) show `source`."""
    _mount(str(source), str(target), None, _MS_BIND)


def set_hostname(name: str) -> None:
    """Name the host of the caller's UTS namespace; at most 64 bytes, as the kernel wants."""
    encoded = name.encode()
    _check(_libc.sethostname(encoded, len(encoded)), "sethostname")


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `number` to this process when the thread that forked it ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0), "prctl")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    result = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _check(result, f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
