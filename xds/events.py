"""What happens on the streams, for whoever logs and counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOpened:
    """A stream whose caller and node were accepted."""

    stream: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamClosed:
    """`reason`: `client`, `age`, `gone` (its pod is), `mode` (it is to learn on demand now, or no
    longer), `shutdown`, `slow`, or the text of the refusal.

    `node` is '' before it was known.
    """

    stream: str
    node: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTooMuch:
    """A client on demand has asked for more than it may (`DemandLimits`). It is served eagerly from now on."""

    stream: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A client's NACK. `names` is what the response held; `final`: they are those of it found to be the culprits."""

    stream: str
    node: str
    type_url: str
    names: tuple[str, ...]
    message: str
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivationFailed:
    """Our own mistake: a resource (or, with `name` '', the list of names) could not be derived. The last good stays."""

    type_url: str
    name: str
    error: Exception = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFailed:
    """A secret could not be made or renewed. The client keeps the one it has."""

    stream: str
    node: str
    name: str
    error: Exception = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFailed:
    """Our own mistake: a stream ended by an exception that nobody expected."""

    stream: str
    node: str
    error: Exception = field(repr=False)


Event: TypeAlias = (
    StreamOpened | StreamClosed | AskedTooMuch | Rejected | DerivationFailed | SecretFailed | StreamFailed
)
