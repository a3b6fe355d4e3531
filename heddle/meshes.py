"""The meshes that run on this machine: where each keeps its files, and which one a command means.

A mesh has a directory under the state root: `mesh.json` (what other commands need to know), `admin.sock`, `lock`.
It runs as long as somebody holds the lock: the kernel lets go of it when the holder dies, however it dies.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


class NoMesh(Exception):
    """There is no such running mesh; the text says what to do."""


class MeshExists(Exception):
    """A mesh of that name runs already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshRecord:
    """What commands know of a running mesh. `started` in seconds since the epoch, `directory` of manifests."""

    name: str
    directory: str
    started: float
    kind: str
    """`local` or `serve`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshHome:
    """The directory of one mesh, running or crashed."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def admin_socket(self) -> Path:
        return self.path / "admin.sock"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    def record(self) -> MeshRecord | None:
        """What the mesh says of itself, or None if it has not got that far."""
        try:
            return MeshRecord(**json.loads((self.path / "mesh.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write_record(self, record: MeshRecord) -> None:
        """Replaces `mesh.json` in one step: from then on commands find the mesh."""
        write_atomically(self.path / "mesh.json", json.dumps(asdict(record)).encode())

    def is_running(self) -> bool:
        """Whether somebody holds the lock."""
        try:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Deletes the directory and all in it; nothing happens if it is gone."""
        shutil.rmtree(self.path, ignore_errors=True)


def state_root() -> Path:
    """Where the meshes of this user live, mode 0700: `$HEDDLE_STATE`, `$XDG_RUNTIME_DIR/heddle` or `/tmp/heddle-UID`.

    Raises PermissionError if the place belongs to somebody else.
    """
    chosen = os.environ.get("HEDDLE_STATE")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not chosen and runtime and os.access(runtime, os.W_OK):
        chosen = f"{runtime}/heddle"
    # The user outside counts: inside a user namespace everybody is 0, and the place is handed in by HEDDLE_STATE.
    root = Path(chosen or f"{tempfile.gettempdir()}/heddle-{os.getuid()}")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{root} belongs to another user; set HEDDLE_STATE to a directory of your own")
    root.chmod(0o700)
    return root


def home_of(name: str) -> MeshHome:
    """The directory that a mesh of this name has or would have. Raises ValueError on a name that is no DNS label."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} names no mesh: lower-case letters, digits and '-', at most 32")
    return MeshHome(path=state_root() / name)


def claim(name: str) -> tuple[MeshHome, int]:
    """The fresh directory of a mesh about to run, and the lock's descriptor, to be kept open as long as it runs.

    What a crashed mesh of this name left is removed, but for its certificate authority.
    Raises MeshExists if one of that name runs.
    """
    home = home_of(name)
    home.path.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise MeshExists(f"a mesh named {name} runs already: `heddle local down --mesh {name}` ends it") from None
    for left in home.path.iterdir():
        if left.name in ("lock", "ca"):
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
    return home, descriptor


def all_homes() -> tuple[MeshHome, ...]:
    """Every mesh directory, running or not."""
    return tuple(MeshHome(path=path) for path in sorted(state_root().iterdir()) if path.is_dir())


def running_mesh(name: str | None) -> MeshHome:
    """The mesh that a command means: the one named, else the newest. Raises NoMesh."""
    found = [(record.started, home) for home in all_homes() if home.is_running() and (record := home.record())]
    if name is not None:
        for _, home in found:
            if home.name == name:
                return home
        others = ", ".join(home.name for _, home in found)
        raise NoMesh(f"no mesh named {name} runs here" + (f"; running: {others}" if others else ""))
    if not found:
        raise NoMesh(
            "no mesh runs here: start one with `heddle local up DIR` or `heddle serve --config DIR`; "
            "of one in a cluster ask `heddle status --kubernetes` and `heddle config ... --kubernetes`"
        )
    return max(found, key=lambda pair: pair[0])[1]


def add_mesh_argument(parser: argparse.ArgumentParser) -> None:
    """`--mesh NAME`, the same everywhere."""
    parser.add_argument("--mesh", metavar="NAME", help="which running mesh (default: the newest)")


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replaces a file in one step; a reader sees the old or the new content, never a part."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
