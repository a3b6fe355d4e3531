"""Envoy's messages as plain dataclasses: the library's classes without the validation that each construction ran.

envoy-data-plane declares its classes with pydantic's `dataclass`. To build their validators is half of what importing
them costs, and to run them more than half of what building a message does. A type checker sees every construction of
ours, an unknown field is a TypeError all the same, and `encode` refuses what does not fit the wire (a value of another
class, two members of a oneof), so that they find nothing that is not found without them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, make_dataclass
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PACKAGE = "envoy_data_plane"


class _BeforeTheMessages(MetaPathFinder):
    """Waits for the first import of the package, so that who needs no message need not load pydantic either."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds nothing. What it is asked for is the news."""
        if fullname == _PACKAGE:
            sys.meta_path.remove(self)
            _declare_plainly()
        return None


def use_plain_messages() -> None:
    """From now on, unless the package is loaded already: then its classes stay as they are."""
    if _PACKAGE not in sys.modules and not any(isinstance(each, _BeforeTheMessages) for each in sys.meta_path):
        sys.meta_path.insert(0, _BeforeTheMessages())


def _declare_plainly() -> None:
    import betterproto2
    import pydantic.dataclasses

    # The library works out the types of all fields of a class once for each of its fields.
    hints = cache(betterproto2.Message._type_hints.__func__)  # type: ignore[attr-defined]  # of a classmethod
    betterproto2.Message._type_hints = classmethod(hints)  # type: ignore[arg-type, method-assign, assignment]

    validating: Callable[..., Any] = pydantic.dataclasses.dataclass

    def declare(cls: type | None = None, *, config: Any = None, **options: Any) -> Any:
        def decorate(declared: type) -> type:
            if declared.__module__.split(".")[0] == _PACKAGE:
                return _plain_message(declared, options)
            decorated: type = validating(config=config, **options)(declared)
            return decorated

        return decorate if cls is None else decorate(cls)

    pydantic.dataclasses.dataclass = declare  # type: ignore[assignment]


def _plain_message(declared: type, options: Mapping[str, Any]) -> type:
    """As a dataclass whose constructor is written when it is called first: of 600 classes few ever are."""
    if "__post_init__" in declared.__dict__:
        # It warns of deprecated fields, which takes a third of building a cluster.
        del declared.__post_init__  # type: ignore[attr-defined]  # looked up above
    cls: type = dataclass(init=False, **options)(declared)

    def construct(self: Any, *values: Any, **named: Any) -> None:
        cls.__init__ = _constructor(cls)  # type: ignore[misc]
        cls.__init__(self, *values, **named)  # type: ignore[misc]

    cls.__init__ = construct  # type: ignore[misc]
    return cls


def _constructor(cls: type) -> Callable[..., None]:
    """The `__init__` that `dataclass` would have given that class."""
    same = [(each.name, each.type, _as_declared(each)) for each in fields(cls)]
    theirs = {name: getattr(cls, name) for name in ("__doc__", "__post_init__") if hasattr(cls, name)}
    made = make_dataclass(cls.__name__, same, eq=False, repr=False, namespace=theirs)
    constructor: Callable[..., None] = made.__init__  # type: ignore[misc]
    return constructor


def _as_declared(found: Field[Any]) -> Any:
    return field() if found.default_factory is MISSING else field(default_factory=found.default_factory)
