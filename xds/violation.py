"""How a client breaks the protocol, for which its stream ends."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from xds.kinds import SECRET, Kind
from xds.wire import DeltaRequest, Node, SotwRequest

MAX_NAMES = 100_000
"""Names a stream may be subscribed to, of all types together, or claim to hold of one type."""
MAX_NAME = 128 * 1024
"""Characters of a name. On demand they are whatever hosts an application calls; Envoy takes headers of 60 KiB."""
MAX_SECRETS = 5_000
"""A gateway has one for each certificate of its servers."""


class Fault(Enum):
    """Why a stream is ended by its client's fault, in gRPC's words."""

    INVALID_ARGUMENT = "invalid argument"
    RESOURCE_EXHAUSTED = "resource exhausted"


class Violation(Exception):
    """The client broke the protocol; its stream has to end."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


def first_node(request: DeltaRequest | SotwRequest) -> Node:
    """The node of a stream's first request. Raises Violation if there is none, or it has no id."""
    if request.node is None or not request.node.id:
        raise Violation(Fault.INVALID_ARGUMENT, "the first request of a stream has no node id")
    return request.node


def check_count(kind: Kind, count: int) -> None:
    """Raises Violation if so many names of a type are too many."""
    if count > (MAX_SECRETS if kind == SECRET else MAX_NAMES):
        raise Violation(Fault.RESOURCE_EXHAUSTED, f"too many names of {kind.type_url}")


def check_names(names: Iterable[str]) -> None:
    """Raises Violation if one of them is too long."""
    if any(len(name) > MAX_NAME for name in names):
        raise Violation(Fault.RESOURCE_EXHAUSTED, "a name is too long")


def check_total(count: int) -> None:
    """Raises Violation if a stream is subscribed to so many names, and they are too many."""
    if count > MAX_NAMES:
        raise Violation(Fault.RESOURCE_EXHAUSTED, "too many names")
