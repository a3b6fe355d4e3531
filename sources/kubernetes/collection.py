"""What is known of one collection: which objects in which versions, and which version comes next. No I/O.

Versions are etcd's revisions: whole numbers that grow with every write to the cluster. Where a server has others, they
are only compared for equality, and the guards against going back do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sources.kubernetes.events import Bookmark, Changed, Deleted, Event, Json, Refusal, key_of, version_of

_NOT_FOUND, _EXPIRED = 404, 410
_TOO_LARGE_VERSION = "Too large resource version"
"""How a server begins that is asked for a version it has not got to. Source: apiserver, storage/errors.go."""


class Next(StrEnum):
    """What to do to know the present state."""

    LIST = "list"
    WATCH = "watch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One object is this now; None: it is gone."""

    key: str
    item: Json | None


class WentBack(Exception):
    """A list is older than what was seen before: a stale answer, or the cluster was restored from a backup."""


class Lost(Exception):
    """The watch cannot go on. `refusal` says why; `expired`: what it would go on from is gone, as happens."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message or refusal.reason or str(refusal.code))
        self.refusal = refusal
        self.expired = refusal.code in (_EXPIRED, _NOT_FOUND)


def is_older(left: str, right: str) -> bool:
    """Whether `left` is certainly an earlier version than `right`."""
    return left.isdecimal() and right.isdecimal() and int(left) < int(right)


class Collection:
    """The state of one list-and-watch. `version` is how far it is known, '' before the first list."""

    def __init__(self) -> None:
        self.version = ""
        self.next = Next.LIST
        self._versions: dict[str, str] = {}
        self._doubted = False

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of each object, by key."""
        return self._versions

    def has(self, versions: Mapping[str, str], version: str) -> bool:
        """Whether a list of this version, with these objects, is known."""
        if self.version and not is_older(self.version, version):
            return True
        return all(
            key in self._versions and not is_older(self._versions[key], each) for key, each in versions.items()
        ) and all(key in versions or is_older(version, each) for key, each in self._versions.items())

    def begin_list(self, version: str) -> None:
        """A list of this version is coming. Raises WentBack if that is behind us, and the answer before was not.

        The second time it is believed: reads are of a quorum, which forgets nothing; a restored etcd does.
        """
        if is_older(version, self.version) and not self._doubted:
            self._doubted = True
            raise WentBack(f"a list of version {version} after version {self.version}")
        self._doubted = False

    def apply_list(self, versions: Mapping[str, str], version: str) -> tuple[str, ...]:
        """The whole collection as of `version`; the keys of what vanished unseen."""
        gone = tuple(key for key in self._versions if key not in versions)
        self._versions = dict(versions)
        self.version = version
        self.next = Next.WATCH
        return gone

    def apply_event(self, event: Event) -> Change | None:
        """What an event changes; None if nothing, or if it is from before what we know. Raises Lost."""
        match event:
            case Refusal():
                self.next = Next.LIST
                raise Lost(event)
            case Bookmark(version=version):
                if version and not is_older(version, self.version):
                    self.version = version
                return None
            case Changed(item=item) | Deleted(item=item):
                key, version = key_of(item), version_of(item)
                if version == self.version or is_older(version, self.version):
                    return None
                self.version = version or self.version
                if isinstance(event, Deleted):
                    self._versions.pop(key, None)
                    return Change(key=key, item=None)
                self._versions[key] = version
                return Change(key=key, item=item)

    def apply_absence(self) -> tuple[str, ...]:
        """The collection does not exist; the keys of what was in it."""
        gone = tuple(self._versions)
        self._versions = {}
        self.next = Next.LIST
        return gone

    def apply_refusal(self, refusal: Refusal) -> None:
        """A watch was refused before it began. Raises Lost if only a list can tell what happened in the meantime."""
        if refusal.code in (_EXPIRED, _NOT_FOUND) or _TOO_LARGE_VERSION in refusal.message:
            self.next = Next.LIST
            raise Lost(refusal)

    def apply_probe(self, version: str) -> None:
        """The server is at this version now; behind ours, there is another history than the one we know."""
        if is_older(version, self.version):
            self.next = Next.LIST

    def distrust(self) -> None:
        """Only a list can tell: the server was away, and may come back as what it was a day ago."""
        self.next = Next.LIST
