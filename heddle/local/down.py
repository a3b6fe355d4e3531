"""`heddle local down`: end a mesh, and remove what a crashed one left."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

from heddle.local.leftovers import LOOPBACK_MARK, kill_marked
from heddle.local.mesh_process_file import signal_mesh
from heddle.local.subnets import remove_free_locks
from heddle.meshes import MeshHome, NoMesh, all_homes, home_of, running_mesh
from heddle.output import complain

_PATIENCE_SECONDS: Final = 2.0
_LAST_SECONDS: Final = 1.0
_LOOK_EVERY_SECONDS: Final = 0.01


def end_mesh(name: str | None) -> int:
    """Ends the mesh named, else the newest; 0 also if there is none."""
    removed = [home.name for home in all_homes() if name in (None, home.name) and _clear_crashed(home)]
    for left in removed:
        print(f"removed what mesh {left} left behind")
    try:
        home = running_mesh(name) if name is None else home_of(name)
    except NoMesh:
        if not removed:
            print("no mesh runs here")
        return 0
    if not home.is_running():
        if not removed:
            print(f"no mesh named {home.name} runs here")
        return 0
    signal_mesh(home, signal.SIGTERM)
    if not _wait(lambda: not home.is_running(), _PATIENCE_SECONDS):
        signal_mesh(home, signal.SIGKILL)
        if not _wait(lambda: not home.is_running(), _LAST_SECONDS):
            complain(f"mesh {home.name} does not end; its process is named in {home.path}/process.json")
            return 2
    clear_home(home)
    print(f"mesh {home.name} ended")
    return 0


def clear_home(home: MeshHome) -> None:
    """Removes every process and file of a mesh that does not run any more.

    The state root stays. Whether this was the last mesh there cannot be known: another may be about to start.
    """
    kill_marked(LOOPBACK_MARK, str(home.path))
    home.remove()
    remove_free_locks(home.path.parent)


def _clear_crashed(home: MeshHome) -> bool:
    """Whether there was something to remove; a mesh of `heddle serve`, or a running one, is left alone."""
    record = home.record()
    if home.is_running() or (record is not None and record.kind != "local"):
        return False
    if record is None and not (home.path / "process.json").exists():
        return False
    clear_home(home)
    return True


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_SECONDS)
    return True
