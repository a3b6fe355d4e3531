"""A container's file system: what an image would bring, the machine's own files here, with the pod's volumes in it.

Below is the machine's root, read only; above it memory that goes with the container. So nothing that a container
writes stays anywhere, and a mount point may be wherever the pod says.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heddle.local import namespaces
from heddle.local.fresh_threads import run_in_fresh_threads
from heddle.local.namespaces import Namespace

_POD_FILES: Final = ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/etc/nsswitch.conf")
_KERNEL_FOLDERS: Final = ("proc", "sys", "dev")
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC = 1, 32, 4096, 16384
_MNT_DETACH: Final = 2
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
_LONGEST_CHAIN: Final = 40
_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder or file of the node, seen by the container at `path`."""

    source: Path
    path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RootPlan:
    """`links` are symbolic links by their place; `open_folders` anybody may pass through, as in any image."""

    mounts: Sequence[Mount] = ()
    links: Mapping[str, str]
    open_folders: Sequence[Path] = ()
    read_only: bool = False


def make_root(plan: RootPlan, *, pod_mounts: str, scratch: Path) -> int:
    """A mount namespace whose root is the container's, as an open descriptor. Blocks for milliseconds.

    `pod_mounts` is the path of the pod's own mount namespace, `scratch` an empty folder on an in-memory file system.
    Raises OSError.
    """
    job: Callable[[], int] = lambda: _make(plan, pod_mounts, scratch)  # noqa: E731 - a thread wants it without arguments
    (made,) = run_in_fresh_threads([job])
    return made.result()


def _make(plan: RootPlan, pod_mounts: str, scratch: Path) -> int:
    namespaces.unshare(Namespace.MOUNT)
    namespaces.setns(pod_mounts, Namespace.MOUNT)
    namespaces.unshare(Namespace.MOUNT)
    upper, work, root = (scratch / name for name in ("upper", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir()
    _mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={upper},workdir={work}")
    for name in _KERNEL_FOLDERS:
        _mount(f"/{name}", root / name, None, _MS_BIND | _MS_REC)
    for path in _POD_FILES:
        if os.path.exists(path):
            namespaces.bind(path, root / path[1:])
    for folder in plan.open_folders:
        for each in (folder, *folder.parents):
            inside = root / str(each)[1:]
            if inside.is_dir() and inside.stat().st_mode & 0o005 != 0o005:
                inside.chmod(inside.stat().st_mode | 0o055)
    for place, target in plan.links.items():
        link = resolve_inside(root, os.path.dirname(place)) / os.path.basename(place)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    for mount in sorted(plan.mounts, key=lambda each: each.path):
        _put(root, mount)
    os.chdir(root)
    _check(_libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount2")
    os.chdir("/")
    if plan.read_only:
        _mount("none", Path("/"), None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY)
    return os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def _put(root: Path, mount: Mount) -> None:
    target = resolve_inside(root, mount.path)
    if mount.source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    namespaces.bind(mount.source, target)
    if mount.read_only:
        _mount("none", target, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY)


def resolve_inside(root: Path, path: str) -> Path:
    """Where `path` is for a process whose root is `root`: its symbolic links do not lead out. Raises OSError."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    done: list[str] = []
    links = 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            done = done[:-1]
            continue
        here = root.joinpath(*done, part)
        if not here.is_symlink():
            done.append(part)
            continue
        links += 1
        if links > _LONGEST_CHAIN:
            raise OSError(f"too many symbolic links in {path}")
        target = os.readlink(here)
        if target.startswith("/"):
            done = []
        parts = [part for part in target.split("/") if part not in ("", ".")] + parts
    return root.joinpath(*done)


def _mount(source: str, target: Path, kind: str | None, flags: int, data: str | None = None) -> None:
    result = _libc.mount(
        source.encode(),
        str(target).encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _check(result, f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
