"""How a client breaks the protocol, for which its stream ends."""

from __future__ import annotations

from enum import Enum

from xds.kinds import SECRET, Kind
from xds.wire import DeltaRequest, Node, SotwRequest

MAX_NAMES = 100_000
"""Names one type of a stream may be subscribed to, or claim to hold."""
MAX_ABSENT = 10_000
"""Names one type of a stream may be subscribed to that lead to nothing and that its client never had. Envoy names what
its clusters name, of which hardly any is not there."""
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


def check_absent(count: int) -> None:
    """Raises Violation if so many names that lead to nothing are too many."""
    if count > MAX_ABSENT:
        raise Violation(Fault.RESOURCE_EXHAUSTED, "too many names that lead to nothing")
