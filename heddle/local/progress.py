"""The lines that tell people how far a mesh is."""

from __future__ import annotations

from collections.abc import Callable

from heddle.local.mesh_state import MeshState


class Progress:
    """Writes a line when there is something new to say."""

    def __init__(self, *, mesh: str, write: Callable[[str], None]) -> None:
        self._mesh = mesh
        self._write = write
        self._said = ""
        self._stuck: tuple[str, ...] = ()

    def show(self, state: MeshState) -> None:
        """Says how many pods are ready, and once of each why it will not be."""
        ready = sum(pod.ready for pod in state.pods)
        line = f"pods {ready}/{len(state.pods)} ready"
        if state.settled and not state.stuck:
            line += f": mesh {self._mesh} is up"
        if line != self._said and state.pods:
            self._write(line)
            self._said = line
        for reason in state.stuck:
            if reason not in self._stuck:
                self._write(reason)
        self._stuck = state.stuck
