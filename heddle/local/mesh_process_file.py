"""Which process on the host holds a mesh: the one that `up` started, and whose end is the mesh's."""

from __future__ import annotations

import json
import os
import signal
from typing import Final

from heddle.local.init import start_time
from heddle.meshes import MeshHome, write_atomically

_FILE: Final = "process.json"


def record_own_process(home: MeshHome) -> None:
    """Called by the process that is about to become the mesh's parent."""
    found = {"pid": os.getpid(), "started": start_time("self")}
    write_atomically(home.path / _FILE, json.dumps(found).encode())


def signal_mesh(home: MeshHome, number: signal.Signals) -> bool:
    """Sends a signal to the mesh's parent; False if there is no such process (any more).

    Its start time is compared, so that a number that is another process's by now is left alone.
    """
    try:
        found = json.loads((home.path / _FILE).read_bytes())
        if start_time(found["pid"]) != found["started"]:
            return False
        os.kill(found["pid"], number)
    except (FileNotFoundError, ProcessLookupError, ValueError, KeyError):
        return False
    return True
