"""Decoded JSON to nodes: what an API server sends goes through the same parsers as a file does."""

from __future__ import annotations

from sources.yaml_documents import MAX_DEPTH, Node

_NULL = Node(None, 0, "null")
_TRUE, _FALSE = Node(True, 0, "true"), Node(False, 0, "false")


class TooDeep(ValueError):
    """The value is nested deeper than a manifest may be."""


def to_node(value: object) -> Node:
    """The node of a value as `json.loads` answers it. Its line is 0: there is no file. Raises TooDeep."""
    return _node(value, 1)


def _node(value: object, depth: int) -> Node:
    match value:
        case str():
            return Node(value, 0, value)
        case None:
            return _NULL
        case bool():
            return _TRUE if value else _FALSE
        case int() | float():
            return Node(value, 0, repr(value))
        case dict() | list() if depth > MAX_DEPTH:
            raise TooDeep(f"the object is nested deeper than {MAX_DEPTH} levels")
        case dict():
            return Node({name: _node(member, depth + 1) for name, member in value.items()}, 0)
        case list():
            return Node(tuple(_node(item, depth + 1) for item in value), 0)
        case _:
            raise TypeError(f"JSON has no {type(value).__name__}")
