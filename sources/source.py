"""What a control plane wants of whatever it takes its objects from."""

from __future__ import annotations

from typing import Protocol


class Source(Protocol):
    """Keeps a store equal to something outside, from `watch` on."""

    @property
    def name(self) -> str:
        """What it is, as people know it: a path, an address."""

    @property
    def pending(self) -> tuple[str, ...]:
        """What keeps the store from being as it should, in words."""

    async def synced(self) -> None:
        """Returns once the store has everything for the first time."""

    async def catch_up(self) -> None:
        """Returns once the store has what was outside before the call. Raises OSError if that cannot be told."""

    async def watch(self) -> None:
        """Until cancelled."""
