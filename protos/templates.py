"""Messages built without validation, for the few places that build thousands of them.

A message of envoy-data-plane is a pydantic dataclass: each construction runs validators, which takes
longer than encoding the result. `new` fills an instance from its class's defaults instead.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import betterproto2 as bp

from protos.metadata import metadata

P = ParamSpec("P")
M = TypeVar("M", bound=bp.Message)


class _Template(NamedTuple):
    defaults: dict[str, object]
    containers: tuple[tuple[str, Callable[[], object]], ...]
    """Fields whose default is a list or dict, which no two messages may share."""


class _Templates(dict[Any, _Template]):
    def __missing__(self, cls: type[bp.Message]) -> _Template:
        defaults = {name: default() for name, default in metadata(cls).default_gen.items()}
        containers = tuple((name, type(value)) for name, value in defaults.items() if isinstance(value, list | dict))
        template = self[cls] = _Template({**defaults, "_unknown_fields": b""}, containers)
        return template


_TEMPLATES = _Templates()


def new(cls: Callable[P, M], *args: P.args, **fields: P.kwargs) -> M:
    """A message of class `cls` with these fields, equal to `cls(**fields)` but never validated.

    The caller vouches for the values: each must already have the type that the field declares (an enum
    member, not its number; a list, not a tuple), at most one field of a oneof may be given, and a
    deprecated field gives no warning. `encode` still refuses what does not fit the wire. A type checker sees
    the class's own signature. Raises TypeError for positional arguments and unknown fields.
    """
    if args:
        raise TypeError("fields are given by name")
    template = _TEMPLATES[cls]
    values = template.defaults | fields
    for name, container in template.containers:
        if name not in fields:
            values[name] = container()
    if len(values) != len(template.defaults):
        raise TypeError(f"{cls} has no field {', '.join(fields.keys() - template.defaults.keys())}")
    message: M = object.__new__(cls)  # type: ignore[arg-type]  # a class is passed, typed as its constructor
    message.__dict__ = values
    return message
